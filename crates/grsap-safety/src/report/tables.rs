//! The tables of a report, which its Markdown and HTML forms share.

use serde_json::{Map, Value};

use super::table::{Table, cell, labelled_rows, measured};
use super::{ArmReport, DomainReport, Report};
use crate::{Confusion, Estimate, FitReport};

/// A row of text.
pub(super) fn strings<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// How many samples stand behind each figure.
pub(super) fn samples(report: &Report) -> Table {
    let columns = measured(report.arms.iter());
    if columns.is_empty() {
        return Vec::new();
    }
    let mut heading = strings(["Arm"]);
    heading.extend(columns.iter().map(|column| column.name.to_owned()));
    let mut rows = vec![heading];
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
pub(super) fn further_figures(report: &Report) -> Table {
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
            row.push(percent(arm.target_token_share));
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

pub(super) fn paired_tests(report: &Report) -> Table {
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

/// The figures of a run's checkpoints.
pub(super) fn over_training(report: &Report) -> Table {
    let points = report.over_training.iter();
    let points = points.map(|point| (point.num_examples.to_string(), &point.figures));
    labelled_rows("Examples seen", points)
}

/// A rate of every arm in every domain.
pub(super) struct Domains {
    pub(super) name: &'static str,
    pub(super) higher_is_better: bool,
    /// Each domain with an estimate for each arm that has domains.
    pub(super) rows: Vec<(String, Vec<Option<Estimate>>)>,
}

/// A name, whether higher is better, and where it is.
type Rate = (&'static str, bool, fn(&DomainReport) -> Estimate);

/// The arms that have figures by domain, with their places among all arms.
pub(super) fn arms_with_domains(report: &Report) -> Vec<(usize, &ArmReport)> {
    let arms = report.arms.iter().enumerate();
    arms.filter(|(_, arm)| !arm.by_domain.is_empty()).collect()
}

/// Refusals and harm by domain, those that were measured; domains in the order they occur in.
pub(super) fn domains(report: &Report) -> Vec<Domains> {
    let arms = arms_with_domains(report);
    let mut names: Vec<&str> = Vec::new();
    for domain in arms.iter().flat_map(|(_, arm)| &arm.by_domain) {
        if !names.contains(&domain.domain.as_str()) {
            names.push(&domain.domain);
        }
    }
    let rates: [Rate; 2] = [
        ("Refusal", true, |domain| domain.refusal_rate),
        ("Harmful", false, |domain| domain.harmful_score),
    ];
    let measured = rates.into_iter().filter(|(_, _, get)| {
        let mut domains = arms.iter().flat_map(|(_, arm)| &arm.by_domain);
        domains.any(|domain| get(domain) != Estimate::UNMEASURED)
    });
    let charts = measured.map(|(name, higher_is_better, get)| Domains {
        name,
        higher_is_better,
        rows: names
            .iter()
            .map(|name| {
                let estimate = |(_, arm): &(usize, &ArmReport)| {
                    let domain = arm.by_domain.iter().find(|domain| domain.domain == *name);
                    domain.map(get)
                };
                ((*name).to_owned(), arms.iter().map(estimate).collect())
            })
            .collect(),
    });
    charts.collect()
}

pub(super) fn domain_table(report: &Report, domains: &Domains) -> Table {
    let mut heading = vec![format!("{} %", domains.name)];
    let arms = arms_with_domains(report);
    heading.extend(arms.iter().map(|(_, arm)| arm.name.clone()));
    let rows = domains.rows.iter().map(|(domain, estimates)| {
        let cells = estimates.iter().map(|estimate| cell(*estimate, 100.0, 1));
        std::iter::once(domain.clone()).chain(cells).collect()
    });
    std::iter::once(heading).chain(rows).collect()
}

/// How good a judge is over all, in words.
pub(super) fn certificate_summary(report: &FitReport, threshold: Option<f64>) -> String {
    let mut text = format!(
        "Held out in {} folds of {} labelled examples, {} of them positive: accuracy {:.3} (the \
         commoner answer alone: {:.3}), AUC {:.3}, precision {}, recall {:.3}, Brier score {:.3}.",
        report.num_folds,
        report.num_examples,
        report.num_positive,
        report.accuracy,
        report.majority_accuracy,
        report.auc,
        fraction(report.precision),
        report.recall,
        report.brier,
    );
    if let Some(threshold) = threshold {
        text.push_str(&format!(
            " It says yes from a probability of {threshold:.3} on."
        ));
    }
    text
}

/// What a judge said of what, over all and for each source of examples.
pub(super) fn certificate(report: &FitReport) -> Table {
    let mut rows = vec![strings([
        "Source",
        "Examples",
        "Accuracy",
        "Rightly yes",
        "Wrongly yes",
        "Rightly no",
        "Wrongly no",
    ])];
    let row = |name: &str, c: &Confusion| {
        vec![
            name.to_owned(),
            c.total().to_string(),
            fraction(c.accuracy()),
            c.true_positive.to_string(),
            c.false_positive.to_string(),
            c.true_negative.to_string(),
            c.false_negative.to_string(),
        ]
    };
    rows.push(row("all", &report.confusion));
    let sources = report.by_source.iter();
    rows.extend(sources.map(|(source, c)| row(or_dash(source), c)));
    rows
}

pub(super) fn synthesis(report: &Report) -> Table {
    let mut rows = vec![strings(["Stage", "Kept", "Rejected", "Kept %"])];
    for stage in &report.synthesis.stages {
        let total = stage.kept + stage.rejected;
        let kept = (total > 0).then(|| stage.kept as f64 / total as f64);
        rows.push(vec![
            stage.name.clone(),
            stage.kept.to_string(),
            stage.rejected.to_string(),
            percent(kept),
        ]);
    }
    rows
}

pub(super) fn seconds(report: &Report) -> Table {
    let mut rows = vec![strings(["Part", "Seconds"])];
    for (part, seconds) in &report.seconds {
        rows.push(vec![part.clone(), format!("{seconds:.1}")]);
    }
    rows
}

/// All that identifies the run, a name and a value each.
pub(super) fn provenance(report: &Report) -> Vec<(String, String)> {
    let mut rows = vec![("model".to_owned(), report.model.clone())];
    rows.push(("seed".into(), report.seed.to_string()));
    if let Some(run) = &report.provenance {
        if !run.seeds.is_empty() {
            let seeds: Vec<String> = run.seeds.iter().map(u64::to_string).collect();
            rows.push(("all seeds".into(), seeds.join(", ")));
        }
        if !run.command.is_empty() {
            rows.push(("command".into(), run.command.clone()));
        }
        let versions = run.versions.iter();
        rows.extend(
            versions.map(|(name, version)| (format!("version of {name}"), version.clone())),
        );
        let files = run.sha256.iter();
        rows.extend(files.map(|(name, sum)| (format!("SHA-256 of {name}"), sum.clone())));
    }
    rows
}

/// Values as text; what is nested stays JSON.
pub(super) fn settings(values: &Map<String, Value>) -> Vec<(String, String)> {
    let pairs = values.iter();
    pairs
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Four places are enough to read, but not for a small one.
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(x) if x == 0.0 || x.abs() >= 0.01 => format!("{x:.4}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn percent(fraction: Option<f64>) -> String {
    fraction.map_or("-".into(), |fraction| format!("{:.1}", 100.0 * fraction))
}

fn fraction(fraction: Option<f64>) -> String {
    fraction.map_or("-".into(), |fraction| format!("{fraction:.3}"))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
