//! What the figures rest on: answers that models differ in, and the judges.

use super::super::markup::Markup;
use super::super::tables::{certificate, certificate_summary};
use super::super::{Flip, FlippedAnswer, JudgeReport};
use super::parts::table;
use crate::FitReport;

/// Mild examples in the open, the others where a reader has to ask for them.
pub(super) fn flips(flips: &[Flip]) -> Markup {
    let mut page = Markup::default();
    let (mild, others): (Vec<&Flip>, Vec<&Flip>) = flips.iter().partition(|flip| flip.is_mild);
    for flip in &mild {
        page.append(&example(flip));
    }
    if !others.is_empty() {
        page.raw("<details class=\"hidden-flips\">\n<summary>Show ");
        page.count(others.len());
        page.raw(if others.len() == 1 {
            " more example that may be harmful to read"
        } else {
            " more examples that may be harmful to read"
        });
        page.raw("</summary>\n");
        for flip in &others {
            page.append(&example(flip));
        }
        page.raw("</details>\n");
    }
    page
}

fn example(flip: &Flip) -> Markup {
    let mut page = Markup::default();
    page.raw("<article>\n<p class=\"metric\">")
        .text(&flip.metric);
    page.raw("</p>\n<p class=\"prompt\" dir=\"auto\">")
        .text(&flip.prompt);
    page.raw("</p>\n<div class=\"answers\">\n");
    for FlippedAnswer {
        arm,
        response,
        verdict,
    } in [&flip.first, &flip.second]
    {
        page.raw("<div><p class=\"who\"><b>").text(arm);
        page.raw("</b> <span class=\"chip\">").text(verdict);
        page.raw("</span></p><p class=\"answer\" dir=\"auto\">");
        if response.trim().is_empty() {
            page.raw("<i>an empty answer</i>");
        } else {
            page.text(response);
        }
        page.raw("</p></div>\n");
    }
    page.raw("</div>\n</article>\n");
    page
}

pub(super) fn judge(judge: &JudgeReport) -> Markup {
    let mut page = Markup::default();
    page.raw("<h3>").text(&judge.judges).raw(": ");
    page.text(&judge.name).raw("</h3>\n<p>");
    page.text(&judge.description).raw("</p>\n");
    match &judge.certificate {
        Some(report) => {
            page.raw("<p>")
                .text(certificate_summary(report, judge.threshold));
            page.raw("</p>\n").append(&matrix(report));
            if !report.by_source.is_empty() {
                page.append(&table(&certificate(report)));
            }
        }
        None => {
            page.raw("<p class=\"aside\">It has no held-out figures.</p>\n");
        }
    }
    page
}

/// The confusion matrix.
fn matrix(report: &FitReport) -> Markup {
    let c = &report.confusion;
    let mut page = Markup::default();
    page.raw("<table class=\"matrix\">\n<caption>Held-out confusion matrix</caption>\n");
    page.raw("<thead><tr><td></td><th scope=\"col\">judge says yes</th>");
    page.raw("<th scope=\"col\">judge says no</th></tr></thead>\n<tbody>\n");
    for (name, cells) in [
        (
            "people say yes",
            [(c.true_positive, true), (c.false_negative, false)],
        ),
        (
            "people say no",
            [(c.false_positive, false), (c.true_negative, true)],
        ),
    ] {
        page.raw("<tr><th scope=\"row\">").raw(name).raw("</th>");
        for (count, is_right) in cells {
            page.raw(if is_right {
                "<td class=\"right\">"
            } else {
                "<td class=\"wrong\">"
            });
            page.count(count);
            page.raw(if is_right {
                " <small>right</small></td>"
            } else {
                " <small>wrong</small></td>"
            });
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody>\n</table>\n");
    page
}
