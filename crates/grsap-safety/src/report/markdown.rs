use super::table::{self, Table};
use super::tables;
use super::{Flip, Report};

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("# {}\n\nSeed {}.\n", escape(&report.model), report.seed);
    if let Some(decision) = &report.decision {
        text.push_str(&format!(
            "\n**{}.** {}\n",
            capitalised(decision.outcome.as_str()),
            escape(&decision.summary)
        ));
        let reasons = decision.reasons.iter();
        let reasons = reasons.map(|r| (r.outcome.as_str().to_owned(), r.text.clone()));
        text.push_str(&list(&reasons.collect::<Vec<_>>()));
    }
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
    let samples = tables::samples(report);
    if samples.len() > 1 {
        text.push_str("\n### Samples scored\n\n");
        text.push_str(&markdown_table(&samples));
    }
    let further = tables::further_figures(report);
    if !further.is_empty() {
        text.push_str("\n### Further figures\n\n");
        text.push_str(&markdown_table(&further));
    }
    for domains in tables::domains(report) {
        text.push_str(&format!("\n### {} by domain\n\n", domains.name));
        text.push_str(&markdown_table(&tables::domain_table(report, &domains)));
    }
    if !report.over_training.is_empty() {
        text.push_str("\n## Over training\n\n![Metrics over training](over_training.svg)\n\n");
        text.push_str(&markdown_table(&tables::over_training(report)));
    }
    if !report.paired_tests.is_empty() {
        text.push_str("\n## Paired tests\n\n");
        text.push_str(&markdown_table(&tables::paired_tests(report)));
        text.push_str(
            "\nMcNemar's exact test, two-sided, on the same prompts; only those on which the two \
             arms differ count.\n",
        );
    }
    text.push_str(&flips(&report.flips));
    for judge in &report.judges {
        text.push_str(&format!(
            "\n## Judge of {}: {}\n\n{}\n",
            escape(&judge.judges),
            escape(&judge.name),
            escape(&judge.description)
        ));
        if let Some(certificate) = &judge.certificate {
            let summary = tables::certificate_summary(certificate, judge.threshold);
            text.push_str(&format!("\n{summary}\n\n"));
            text.push_str(&markdown_table(&tables::certificate(certificate)));
        }
    }
    if !report.synthesis.stages.is_empty() {
        text.push_str("\n## Synthesis\n\n");
        text.push_str(&markdown_table(&tables::synthesis(report)));
        text.push_str(&list(&tables::settings(&report.synthesis.extra)));
    }
    if report.provenance.is_some() {
        text.push_str("\n## Provenance\n");
        text.push_str(&list(&tables::provenance(report)));
    }
    if !report.seconds.is_empty() {
        text.push_str("\n## Time\n\n");
        text.push_str(&markdown_table(&tables::seconds(report)));
    }
    if !report.extra.is_empty() {
        text.push_str("\n## Settings\n");
        text.push_str(&list(&tables::settings(&report.extra)));
    }
    text
}

/// The mild ones in words; of the others, the number.
fn flips(flips: &[Flip]) -> String {
    if flips.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Where models differ\n");
    for flip in flips.iter().filter(|flip| flip.is_mild) {
        text.push_str(&format!("\n> {}\n", escape(&flip.prompt)));
        let answers = [&flip.first, &flip.second].map(|answer| {
            let name = format!("{}, {}", answer.arm, answer.verdict);
            (name, answer.response.clone())
        });
        text.push_str(&list(&answers));
    }
    let num_hidden = flips.iter().filter(|flip| !flip.is_mild).count();
    if num_hidden > 0 {
        text.push_str(&format!(
            "\n{num_hidden} more that may be harmful to read are in `report.html`, hidden at first.\n"
        ));
    }
    text
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

fn list(values: &[(String, String)]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n");
    for (name, value) in values {
        text.push_str(&format!("- {}: {}\n", escape(name), escape(value)));
    }
    text
}

/// The first row is the heading; all columns but the first are aligned right.
fn markdown_table(rows: &Table) -> String {
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
            // The middle of a link or an image.
            '(' if escaped.ends_with(']') => escaped.push_str("\\("),
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
            "**Undecided.** Too few prompts to tell.",
            "- fail: refusal fell",
            "| 64 | 70.0 [60.4, 78.1] | - (100 unscored) | 10.0 [4.3, 21.4] | 12.5 [5.5, 26.1] |",
            "> Is \\<this> so?",
            "- gr_sap, refuses: of gr_sap",
            "1 more that may be harmful to read are in `report.html`, hidden at first.",
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
    fn text_becomes_no_link_and_no_picture() {
        let text = escape("![x](y) <b> a|b\n# no");
        assert_eq!(text, "![x]\\(y) \\<b> a\\|b # no");
        assert!(!sample().to_markdown().contains("SECRET"));
    }

    #[test]
    fn an_empty_report_has_no_tables() {
        assert_eq!(Report::new("m", 3).to_markdown(), "# m\n\nSeed 3.\n");
    }
}
