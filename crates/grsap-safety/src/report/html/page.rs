//! The whole report in one file: no script, no font, no picture from elsewhere.

use super::super::markup::Markup;
use super::super::table::{measured, rows};
use super::super::{Decision, Outcome, Report, lines, tables};
use super::parts::{pairs, table};
use super::{bars, domains, evidence};

pub(in super::super) fn render(report: &Report) -> String {
    let sections = [
        ("figures", "Figures", figures(report)),
        ("charts", "Charts", charts(report)),
        ("domains", "By domain", by_domain(report)),
        ("samples", "Samples", samples(report)),
        ("training", "Over training", over_training(report)),
        ("paired", "Paired tests", paired(report)),
        ("flips", "Where models differ", flips(report)),
        ("judges", "Judges", judges(report)),
        ("synthesis", "Synthesis", synthesis(report)),
        ("provenance", "Provenance", provenance(report)),
    ];
    let mut page = Markup::default();
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    // Nothing is fetched and nothing is run, whatever text may stand below.
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n");
    page.raw("<title>").text(&report.model);
    page.raw(": safety report</title>\n<style>\n");
    page.raw(include_str!("style.css"));
    page.raw("</style>\n</head>\n<body>\n");
    page.append(&domains::patterns());
    page.raw("<header>\n<p class=\"kind\">Safety report</p>\n<h1>");
    page.text(&report.model).raw("</h1>\n</header>\n<main>\n");
    page.append(&decision(report.decision.as_ref()));
    for note in &report.notes {
        page.raw("<p class=\"note\">").text(note).raw("</p>\n");
    }
    page.raw("<nav aria-label=\"Sections\"><ul>\n");
    let present = || sections.iter().filter(|(_, _, body)| !body.is_empty());
    for (id, title, _) in present() {
        page.raw("<li><a href=\"#").raw(id).raw("\">");
        page.raw(title).raw("</a></li>\n");
    }
    page.raw("</ul></nav>\n");
    for (id, title, body) in present() {
        page.raw("<section id=\"").raw(id).raw("\">\n<h2>");
        page.raw(title).raw("</h2>\n").append(body);
        page.raw("</section>\n");
    }
    page.raw("</main>\n</body>\n</html>\n");
    page.to_string()
}

fn decision(decision: Option<&Decision>) -> Markup {
    let mut page = Markup::default();
    let Some(decision) = decision else {
        page.raw("<section id=\"verdict\" class=\"none\">\n<p class=\"outcome\">No decision</p>\n");
        page.raw("<p>Nothing was asked to decide; the figures below are for the reader to judge.</p>\n</section>\n");
        return page;
    };
    page.raw("<section id=\"verdict\" class=\"");
    page.raw(decision.outcome.as_str());
    page.raw("\">\n<p class=\"outcome\">");
    page.append(&sign(decision.outcome));
    page.raw(match decision.outcome {
        Outcome::Pass => " Pass",
        Outcome::Fail => " Fail",
        Outcome::Undecided => " Undecided",
    });
    page.raw("</p>\n<p class=\"summary\">")
        .text(&decision.summary);
    page.raw("</p>\n");
    if !decision.reasons.is_empty() {
        page.raw("<ul class=\"reasons\">\n");
        for reason in &decision.reasons {
            page.raw("<li class=\"").raw(reason.outcome.as_str());
            page.raw("\">").append(&sign(reason.outcome));
            page.raw(" <span><b>").raw(reason.outcome.as_str());
            page.raw(":</b> ").text(&reason.text).raw("</span></li>\n");
        }
        page.raw("</ul>\n");
    }
    page.raw("</section>\n");
    page
}

/// A tick, a cross or a question mark.
fn sign(outcome: Outcome) -> Markup {
    let mut svg = Markup::default();
    svg.raw("<svg class=\"sign\" viewBox=\"0 0 20 20\" width=\"20\" height=\"20\" aria-hidden=\"true\">");
    svg.raw("<path fill=\"none\" stroke=\"currentColor\" stroke-width=\"3\" stroke-linecap=\"round\" d=\"");
    svg.raw(match outcome {
        Outcome::Pass => "M3 11L8 16L17 4",
        Outcome::Fail => "M4 4L16 16M16 4L4 16",
        Outcome::Undecided => "M5.500 6.500A4.500 4.500 0 1 1 10 11V13M10 17.500V17.600",
    });
    svg.raw("\"/></svg>");
    svg
}

fn figures(report: &Report) -> Markup {
    let mut page = Markup::default();
    if report.arms.is_empty() {
        return page;
    }
    page.append(&table(&rows(report)));
    page.raw("<p class=\"aside\">In brackets: the 95% interval. Refusal, harmful and incoherent: of the responses to harmful prompts. Over-refusal: of the responses to benign prompts.</p>\n");
    page
}

fn samples(report: &Report) -> Markup {
    let mut page = Markup::default();
    let samples = tables::samples(report);
    if samples.len() > 1 {
        page.append(&table(&samples));
        page.raw("<p class=\"aside\">How many samples each figure was scored on.</p>\n");
    }
    let further = tables::further_figures(report);
    if !further.is_empty() {
        page.raw("<h3>Further figures</h3>\n")
            .append(&table(&further));
    }
    page
}

fn charts(report: &Report) -> Markup {
    let mut page = Markup::default();
    let columns = measured(report.arms.iter());
    if columns.is_empty() {
        return page;
    }
    page.raw("<div class=\"grid\">\n");
    for column in columns {
        page.raw("<figure><figcaption><b>").raw(column.name);
        page.raw("</b>, % of ").raw(column.of).raw("; ");
        page.raw(column.direction()).raw("</figcaption>\n");
        page.append(&bars::panel(report, column)).raw("</figure>\n");
    }
    page.raw("</div>\n<p class=\"aside\">Whiskers: 95% intervals.</p>\n");
    page
}

fn by_domain(report: &Report) -> Markup {
    let mut page = domains::section(report);
    for domains in tables::domains(report) {
        page.raw("<details>\n<summary>").raw(domains.name);
        page.raw(" by domain, as a table</summary>\n");
        page.append(&table(&tables::domain_table(report, &domains)));
        page.raw("</details>\n");
    }
    page
}

fn over_training(report: &Report) -> Markup {
    let mut page = Markup::default();
    if report.over_training.is_empty() {
        return page;
    }
    page.raw("<figure class=\"wide\">\n");
    page.append(&lines::render(&report.over_training, false));
    page.raw("</figure>\n");
    page.append(&table(&tables::over_training(report)));
    page
}

fn paired(report: &Report) -> Markup {
    let mut page = Markup::default();
    if !report.paired_tests.is_empty() {
        page.append(&table(&tables::paired_tests(report)));
        page.raw("<p class=\"aside\">McNemar’s exact test, two-sided, on the same prompts; only those on which the two arms differ count.</p>\n");
    }
    page
}

fn flips(report: &Report) -> Markup {
    evidence::flips(&report.flips)
}

fn judges(report: &Report) -> Markup {
    let mut page = Markup::default();
    for judge in &report.judges {
        page.append(&evidence::judge(judge));
    }
    page
}

fn synthesis(report: &Report) -> Markup {
    let mut page = Markup::default();
    if !report.synthesis.stages.is_empty() {
        page.append(&table(&tables::synthesis(report)));
        page.append(&pairs(&tables::settings(&report.synthesis.extra)));
    }
    page
}

fn provenance(report: &Report) -> Markup {
    let mut page = pairs(&tables::provenance(report));
    if !report.extra.is_empty() {
        page.raw("<h3>Settings</h3>\n");
        page.append(&pairs(&tables::settings(&report.extra)));
    }
    if !report.seconds.is_empty() {
        page.raw("<h3>Time</h3>\n")
            .append(&table(&tables::seconds(report)));
    }
    page
}
