use serde_json::{Map, Value};

use super::{Report, table};

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("# {}\n\nSeed {}.\n", escape(&report.model), report.seed);
    for note in &report.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    if !report.arms.is_empty() {
        text.push_str("\n## Arms\n\n![Metrics of every arm](report.svg)\n\n");
        text.push_str(&markdown_table(&table::rows(report)));
        text.push_str(
            "\nIn brackets: the 95% interval. Refusal, harmful and incoherent: of the responses to \
             harmful prompts. Over-refusal: of the responses to benign prompts.\n",
        );
    }
    let samples = sample_counts(report);
    if samples.len() > 1 {
        text.push_str("\n### Samples scored\n\n");
        text.push_str(&markdown_table(&samples));
    }
    let further = further_figures(report);
    if !further.is_empty() {
        text.push_str("\n### Further figures\n\n");
        text.push_str(&markdown_table(&further));
    }
    if !report.paired_tests.is_empty() {
        text.push_str("\n## Paired tests\n\n");
        text.push_str(&markdown_table(&paired_tests(report)));
        text.push_str(
            "\nMcNemar's exact test, two-sided, on the same prompts; only those on which the two \
             arms differ count.\n",
        );
    }
    if !report.synthesis.stages.is_empty() {
        text.push_str("\n## Synthesis\n\n");
        let mut rows = vec![strings(["Stage", "Kept", "Rejected", "Kept %"])];
        for stage in &report.synthesis.stages {
            let total = stage.kept + stage.rejected;
            rows.push(vec![
                stage.name.clone(),
                stage.kept.to_string(),
                stage.rejected.to_string(),
                if total == 0 {
                    "-".into()
                } else {
                    format!("{:.1}", 100.0 * stage.kept as f64 / total as f64)
                },
            ]);
        }
        text.push_str(&markdown_table(&rows));
        text.push_str(&settings(&report.synthesis.extra));
    }
    if !report.seconds.is_empty() {
        text.push_str("\n## Time\n\n");
        let mut rows = vec![strings(["Part", "Seconds"])];
        for (part, seconds) in &report.seconds {
            rows.push(vec![part.clone(), format!("{seconds:.1}")]);
        }
        text.push_str(&markdown_table(&rows));
    }
    if !report.extra.is_empty() {
        text.push_str("\n## Settings\n");
        text.push_str(&settings(&report.extra));
    }
    text
}

/// How many samples stand behind each figure.
fn sample_counts(report: &Report) -> Vec<Vec<String>> {
    let columns: Vec<_> = table::measured(report).collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![
        std::iter::once("Arm".to_owned())
            .chain(columns.iter().map(|column| column.name.to_owned()))
            .collect::<Vec<_>>(),
    ];
    for arm in &report.arms {
        let mut row = vec![arm.name.clone()];
        row.extend(columns.iter().map(|column| match (column.get)(arm) {
            Some(e) => format!("{} of {}", e.num_scored, e.num_scored + e.num_unscored),
            None => "-".into(),
        }));
        rows.push(row);
    }
    rows
}

/// What else is known of the arms, a column for each name that occurs.
fn further_figures(report: &Report) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for arm in &report.arms {
        for name in arm.extra.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let has_share = report
        .arms
        .iter()
        .any(|arm| arm.target_token_share.is_some());
    if names.is_empty() && !has_share {
        return Vec::new();
    }
    let mut heading = strings(["Arm"]);
    if has_share {
        heading.push("Replay's share of target tokens %".into());
    }
    heading.extend(names.iter().map(|name| (*name).to_owned()));
    let mut rows = vec![heading];
    for arm in &report.arms {
        let mut row = vec![arm.name.clone()];
        if has_share {
            let share = arm.target_token_share;
            row.push(share.map_or("-".into(), |share| format!("{:.1}", 100.0 * share)));
        }
        row.extend(
            names
                .iter()
                .map(|name| arm.extra.get(*name).map_or("-".into(), plain)),
        );
        rows.push(row);
    }
    rows
}

fn paired_tests(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![strings([
        "Metric",
        "First",
        "Second",
        "Only first",
        "Only second",
        "Both",
        "Neither",
        "Unscored",
        "p",
    ])];
    for test in &report.paired_tests {
        let m = &test.mcnemar;
        let mut row = vec![test.metric.clone(), test.first.clone(), test.second.clone()];
        let counts = [
            m.only_first,
            m.only_second,
            m.both,
            m.neither,
            m.num_unscored,
        ];
        row.extend(counts.iter().map(usize::to_string));
        row.push(if m.p_value < 0.001 {
            format!("{:.1e}", m.p_value)
        } else {
            format!("{:.3}", m.p_value)
        });
        rows.push(row);
    }
    rows
}

/// Values as a list; what is nested stays JSON.
fn settings(values: &Map<String, Value>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n");
    for (name, value) in values {
        text.push_str(&format!("- {}: {}\n", escape(name), escape(&plain(value))));
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .map_or(number.to_string(), |x| format!("{x:.4}")),
        other => other.to_string(),
    }
}

fn strings<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The first row is the heading; all columns but the first are aligned right.
fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            let rule: Vec<&str> = (0..row.len())
                .map(|column| if column == 0 { "---" } else { "---:" })
                .collect();
            text.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    text
}

/// Keeps a text from breaking its table or starting markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '|' | '<' | '*' | '`' | '\\' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::sample;
    use super::*;

    #[test]
    fn every_part_is_there() {
        let text = sample().to_markdown();
        for line in [
            "# tiny \\<model> & co",
            "A remark.",
            "| gr_sap | 56.0 [46.2, 65.3] | - (100 unscored) | 16.0 [8.3, 28.5] | 72.5 [57.2, 83.9] | 22.0 [15.0, 31.1] | 1.500 [1.250, 1.750] |",
            "| gr_sap | 100 of 100 | 0 of 100 | 50 of 50 | 40 of 40 | 100 of 100 |",
            "| gr_sap | 4.5 | 40 |",
            "| refusal_rate | no_replay | gr_sap | 2 | 39 | 0 | 19 | 0 | 7.8e-10 |",
            "| semantic\\|dedup | 111 | 108 | 50.7 |",
            "| align | 80.2 |",
            "- task: sentiment",
        ] {
            assert!(
                text.lines().any(|got| got == line),
                "no line {line:?} in\n{text}"
            );
        }
    }

    #[test]
    fn tables_have_one_width() {
        let text = sample().to_markdown();
        let lines: Vec<&str> = text.lines().collect();
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        for pair in lines.windows(2) {
            if pair.iter().all(|line| line.starts_with('|')) {
                assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
            }
        }
    }

    #[test]
    fn an_empty_report_has_no_tables() {
        assert_eq!(Report::new("m", 3).to_markdown(), "# m\n\nSeed 3.\n");
    }
}
