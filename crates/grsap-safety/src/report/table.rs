use super::{ArmReport, Report};
use crate::Estimate;

/// Rows of cells; the first is the heading.
pub(super) type Table = Vec<Vec<String>>;

/// A metric of every arm.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// What it is a fraction of.
    pub(super) of: &'static str,
    pub(super) higher_is_better: bool,
    pub(super) get: fn(&ArmReport) -> Option<Estimate>,
}

/// The metrics that are fractions, in the order they are shown.
const RATES: [Column; 5] = [
    Column {
        name: "Refusal",
        of: "harmful prompts",
        higher_is_better: true,
        get: |arm| Some(arm.refusal_rate),
    },
    Column {
        name: "Harmful",
        of: "harmful prompts",
        higher_is_better: false,
        get: |arm| Some(arm.harmful_score),
    },
    Column {
        name: "Over-refusal",
        of: "benign prompts",
        higher_is_better: false,
        get: |arm| Some(arm.over_refusal_rate),
    },
    Column {
        name: "Task accuracy",
        of: "task rows",
        higher_is_better: true,
        get: |arm| Some(arm.task_accuracy),
    },
    Column {
        name: "Incoherent",
        of: "harmful prompts",
        higher_is_better: false,
        get: |arm| arm.incoherence,
    },
];

impl Column {
    pub(super) fn direction(self) -> &'static str {
        if self.higher_is_better {
            "higher is better"
        } else {
            "lower is better"
        }
    }
}

/// The rates that at least one of `arms` has a value or an unscored sample for.
pub(super) fn measured<'a>(arms: impl Iterator<Item = &'a ArmReport> + Clone) -> Vec<Column> {
    let is_measured = |column: &Column| {
        arms.clone()
            .filter_map(column.get)
            .any(|estimate| estimate != Estimate::UNMEASURED)
    };
    RATES.into_iter().filter(is_measured).collect()
}

/// "56.0 [46.2, 65.3]" with everything times `scale`, and what could not be scored.
pub(super) fn cell(estimate: Option<Estimate>, scale: f64, decimals: usize) -> String {
    let Some(estimate) = estimate else {
        return "-".into();
    };
    let mut text = match (estimate.value, estimate.interval) {
        (None, _) => "-".into(),
        (Some(value), None) => format!("{:.decimals$}", value * scale),
        (Some(value), Some((low, high))) => format!(
            "{:.decimals$} [{:.decimals$}, {:.decimals$}]",
            value * scale,
            low * scale,
            high * scale
        ),
    };
    if estimate.num_unscored > 0 {
        text.push_str(&format!(" ({} unscored)", estimate.num_unscored));
    }
    text
}

/// The heading and the rows of the arms' table.
pub(super) fn rows(report: &Report) -> Table {
    let arms = report.arms.iter().map(|arm| (arm.name.clone(), arm));
    labelled_rows("Arm", arms)
}

/// The figures of arms under labels of another kind than their names.
pub(super) fn labelled_rows<'a>(
    heading: &str,
    arms: impl Iterator<Item = (String, &'a ArmReport)> + Clone,
) -> Table {
    let columns = measured(arms.clone().map(|(_, arm)| arm));
    let has_nll = arms.clone().any(|(_, arm)| arm.nll_per_token.is_some());
    let mut heading = vec![heading.to_owned()];
    heading.extend(columns.iter().map(|column| format!("{} %", column.name)));
    if has_nll {
        heading.push("NLL per token".into());
    }
    let mut rows = vec![heading];
    for (label, arm) in arms {
        let mut row = vec![label];
        row.extend(
            columns
                .iter()
                .map(|column| cell((column.get)(arm), 100.0, 1)),
        );
        if has_nll {
            row.push(cell(arm.nll_per_token, 1.0, 3));
        }
        rows.push(row);
    }
    rows
}

pub(super) fn render(report: &Report) -> String {
    let rows = rows(report);
    let num_columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..num_columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&rule.join("  "));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::sample;
    use super::*;

    #[test]
    fn columns_line_up() {
        let table = sample().to_table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 7);
        let column = lines[0].find("Harmful").unwrap();
        assert!(lines[1..].iter().all(|line| line[..column].ends_with("  ")));
        assert!(
            lines[5].starts_with("gr_sap     56.0 [46.2, 65.3]  - (100 unscored)"),
            "{table}"
        );
        assert!(lines[2].contains("1.500 [1.250, 1.750]"), "{table}");
    }

    #[test]
    fn metrics_that_nobody_measured_are_left_out() {
        let mut report = Report::new("m", 0);
        report.arms.push(ArmReport::new("a"));
        assert_eq!(report.to_table(), "Arm\n---\na\n");
        assert_eq!(Report::new("m", 0).to_table(), "Arm\n---\n");
    }

    #[test]
    fn a_value_without_an_interval() {
        let estimate = Estimate {
            value: Some(0.5),
            num_scored: 1,
            ..Estimate::UNMEASURED
        };
        assert_eq!(cell(Some(estimate), 100.0, 1), "50.0");
        assert_eq!(cell(None, 1.0, 1), "-");
    }
}
