use std::fmt::Write;

use super::{DomainYield, Yields};

pub(super) fn render(yields: &Yields) -> String {
    // Stages that dropped nothing would be empty columns.
    let total = yields.total();
    let dropped = total.num_dropped.iter().enumerate();
    let columns: Vec<usize> = dropped
        .filter(|(_, num)| **num > 0)
        .map(|(stage, _)| stage)
        .collect();
    let mut text = String::from("# Yields\n\n| domain | sampled |");
    for stage in columns.iter().filter_map(|stage| yields.stages.get(*stage)) {
        text += &format!(" {} |", escape(stage));
    }
    text += " unsafe | easy | hard | yield % |\n|---|---:|";
    text += &"---:|".repeat(columns.len() + 4);
    text.push('\n');
    for domain in yields.domains.iter().chain([&total]) {
        row(&mut text, domain, &columns);
    }
    text += "\nColumns between *sampled* and *unsafe* are candidates that fell at that stage. Unsafe rows are kept and never trained on; the yield \
             is the share of the easy and hard ones, which are.\n\n";

    text += "| fell at | because | candidates | % of sampled |\n|---|---|---:|---:|\n";
    for (stage, reason, num) in &yields.reasons {
        let (stage, reason) = (escape(stage), escape(reason));
        let share = percent(Some(*num as f64 / total.num_samples as f64));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {stage} | {reason} | {num} | {share} |");
    }
    if !yields.scores.is_empty() {
        text += "\n| score | candidates | min | 5% | 25% | median | 75% | 95% | max |\n";
        text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    }
    for (name, s) in &yields.scores {
        let _ = write!(text, "| {} | {} |", escape(name), s.num_scored);
        for value in [s.min, s.p05, s.p25, s.median, s.p75, s.p95, s.max] {
            let _ = write!(text, " {value:.3} |");
        }
        text.push('\n');
    }
    text
}

fn row(text: &mut String, of: &DomainYield, columns: &[usize]) {
    let dropped = columns
        .iter()
        .filter_map(|stage| of.num_dropped.get(*stage));
    let numbers = [&of.num_samples].into_iter().chain(dropped).chain([
        &of.num_unsafe,
        &of.num_easy,
        &of.num_hard,
    ]);
    let numbers: Vec<String> = numbers.map(usize::to_string).collect();
    let _ = writeln!(
        text,
        "| {} | {} | {} |",
        escape(&of.domain),
        numbers.join(" | "),
        percent(of.yield_ratio())
    );
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "n/a".to_owned(), |ratio| format!("{:.1}", 100.0 * ratio))
}

/// Text for a cell.
fn escape(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.replace('|', "\\|")
}
