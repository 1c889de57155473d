//! A rate of all arms in every domain: thin bars under the domain's name.

use super::super::Report;
use super::super::markup::Markup;
use super::super::palette::definitions;
use super::super::table::cell;
use super::super::tables::{Domains, arms_with_domains, domains};
use super::bars::{bar, shortened};
use crate::Estimate;

const WIDTH: f64 = 360.0;
const LEFT: f64 = 24.0;
const PLOT: f64 = 216.0;
const BAR_ROW: f64 = 15.0;
const BAR: f64 = 10.0;
const HEADING: f64 = 24.0;
const MAX_CHARS: usize = 38;

pub(super) fn section(report: &Report) -> Markup {
    let mut page = Markup::default();
    let charts = domains(report);
    if charts.is_empty() {
        return page;
    }
    let arms = arms_with_domains(report);
    page.raw("<ul class=\"key\">\n");
    for (place, (index, arm)) in arms.iter().enumerate() {
        page.raw("<li><b>").text(letter(place));
        page.raw(
            "</b> <svg viewBox=\"0 0 28 12\" width=\"28\" height=\"12\" aria-hidden=\"true\">",
        );
        let full = Estimate {
            value: Some(1.0),
            ..Estimate::UNMEASURED
        };
        bar(&mut page, 1.0, 26.0, 1.0, BAR, *index, Some(full));
        page.raw("</svg> ").text(&arm.name).raw("</li>\n");
    }
    page.raw("</ul>\n<div class=\"grid\">\n");
    for chart in &charts {
        page.raw("<figure><figcaption><b>").text(chart.name);
        page.raw("</b>, % of the domain’s prompts; ");
        page.raw(if chart.higher_is_better {
            "higher is better"
        } else {
            "lower is better"
        });
        page.raw("</figcaption>\n");
        let indices: Vec<usize> = arms.iter().map(|(index, _)| *index).collect();
        page.append(&picture(chart, &indices)).raw("</figure>\n");
    }
    page.raw("</div>\n");
    page
}

fn picture(chart: &Domains, arms: &[usize]) -> Markup {
    let row = HEADING + BAR_ROW * arms.len() as f64 + 6.0;
    let height = row * chart.rows.len() as f64;
    let mut svg = Markup::default();
    svg.raw("<svg viewBox=\"0 0 ").at(WIDTH).raw(" ").at(height);
    svg.raw("\" role=\"img\" aria-label=\"").text(chart.name);
    svg.raw(" by domain; the figures are in the table below\">\n");
    for (place, (domain, estimates)) in chart.rows.iter().enumerate() {
        let top = row * place as f64;
        svg.raw("<text x=\"2\" y=\"").at(top + 17.0);
        svg.raw("\" font-size=\"14\" fill=\"#1a1a1a\">");
        svg.text(shortened(domain, MAX_CHARS)).raw("<title>");
        svg.text(domain).raw("</title></text>");
        let num_prompts = estimates.iter().flatten().map(num_samples).max();
        svg.raw("<text x=\"").at(WIDTH - 2.0).raw("\" y=\"");
        svg.at(top + 17.0);
        svg.raw("\" font-size=\"12\" text-anchor=\"end\" fill=\"#555555\">n = ");
        svg.count(num_prompts.unwrap_or(0)).raw("</text>\n");
        let base = top + HEADING + BAR_ROW * arms.len() as f64;
        for quarter in 0..=4 {
            let x = LEFT + PLOT * f64::from(quarter) / 4.0;
            svg.raw("<line x1=\"").at(x).raw("\" x2=\"").at(x);
            svg.raw("\" y1=\"").at(top + HEADING - 1.0);
            svg.raw("\" y2=\"").at(base).raw("\" stroke=\"#e4e4e4\"/>");
        }
        for (at, (index, estimate)) in arms.iter().zip(estimates).enumerate() {
            let y = top + HEADING + BAR_ROW * at as f64;
            svg.raw("<text x=\"6\" y=\"").at(y + 10.0);
            svg.raw("\" font-size=\"12\" font-weight=\"bold\" fill=\"#1a1a1a\">");
            svg.text(letter(at)).raw("</text>");
            bar(&mut svg, LEFT, PLOT, y, BAR, *index, *estimate);
            svg.raw("<text x=\"").at(WIDTH - 2.0).raw("\" y=\"");
            svg.at(y + 10.0);
            svg.raw("\" font-size=\"12\" text-anchor=\"end\" fill=\"#1a1a1a\">");
            svg.text(figure(*estimate)).raw("</text>\n");
        }
    }
    svg.raw("</svg>\n");
    svg
}

fn num_samples(estimate: &Estimate) -> usize {
    estimate.num_scored + estimate.num_unscored
}

fn figure(estimate: Option<Estimate>) -> String {
    let bare = estimate.map(|e| Estimate {
        num_unscored: 0,
        ..e
    });
    cell(bare, 100.0, 0)
}

/// A, B, ... Z, and then numbers.
fn letter(place: usize) -> String {
    match u8::try_from(place) {
        Ok(place) if place < 26 => char::from(b'A' + place).to_string(),
        _ => (place + 1).to_string(),
    }
}

/// The patterns of all charts of a page.
pub(super) fn patterns() -> Markup {
    let mut svg = Markup::default();
    svg.raw("<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\">\n");
    svg.append(&definitions()).raw("</svg>\n");
    svg
}
