//! One metric of all arms: bars to the right, a name and a figure above each.

use super::super::Report;
use super::super::markup::Markup;
use super::super::palette::fill;
use super::super::table::{Column, cell};
use crate::Estimate;

const WIDTH: f64 = 360.0;
const LEFT: f64 = 6.0;
const PLOT: f64 = 346.0;
const ROW: f64 = 44.0;
const BAR: f64 = 15.0;
/// Of a name; more would run into the figure.
const MAX_CHARS: usize = 24;

pub(super) fn panel(report: &Report, column: Column) -> Markup {
    let height = ROW * report.arms.len() as f64 + 24.0;
    let mut svg = Markup::default();
    svg.raw("<svg viewBox=\"0 0 ").at(WIDTH).raw(" ").at(height);
    svg.raw("\" role=\"img\" aria-label=\"").text(column.name);
    svg.raw(" of ").text(column.of);
    for arm in &report.arms {
        svg.raw("; ").text(&arm.name).raw(": ");
        svg.text(cell((column.get)(arm), 100.0, 1)).raw(" percent");
    }
    svg.raw("\">\n");
    scale(&mut svg, height - 20.0);
    for (index, arm) in report.arms.iter().enumerate() {
        let top = ROW * index as f64;
        svg.raw("<text x=\"").at(LEFT).raw("\" y=\"").at(top + 16.0);
        svg.raw("\" font-size=\"14\" fill=\"#1a1a1a\">");
        svg.text(shortened(&arm.name, MAX_CHARS)).raw("<title>");
        svg.text(&arm.name).raw("</title></text>");
        let estimate = (column.get)(arm);
        svg.raw("<text x=\"").at(LEFT + PLOT).raw("\" y=\"");
        svg.at(top + 16.0);
        svg.raw("\" font-size=\"13\" text-anchor=\"end\" fill=\"#1a1a1a\">");
        svg.text(figure(estimate)).raw("</text>\n");
        bar(&mut svg, LEFT, PLOT, top + 21.0, BAR, index, estimate);
    }
    svg.raw("</svg>\n");
    svg
}

/// Lines at each quarter and the numbers under three of them.
fn scale(svg: &mut Markup, base: f64) {
    for quarter in 0..=4 {
        let x = LEFT + PLOT * f64::from(quarter) / 4.0;
        svg.raw("<line x1=\"").at(x).raw("\" x2=\"").at(x);
        svg.raw("\" y1=\"4\" y2=\"").at(base);
        svg.raw("\" stroke=\"#e4e4e4\"/>");
    }
    for (x, anchor, label) in [
        (LEFT, "start", "0"),
        (LEFT + PLOT / 2.0, "middle", "50"),
        (LEFT + PLOT, "end", "100%"),
    ] {
        svg.raw("<text x=\"").at(x).raw("\" y=\"").at(base + 15.0);
        svg.raw("\" font-size=\"12\" fill=\"#555555\" text-anchor=\"");
        svg.raw(anchor).raw("\">").raw(label).raw("</text>\n");
    }
}

/// A bar from `left` whose full length is `plot`, with a whisker for the interval.
pub(super) fn bar(
    svg: &mut Markup,
    left: f64,
    plot: f64,
    top: f64,
    height: f64,
    index: usize,
    estimate: Option<Estimate>,
) {
    let Some(value) = estimate.and_then(|estimate| estimate.value) else {
        return;
    };
    let x = |fraction: f64| left + plot * fraction.clamp(0.0, 1.0);
    svg.raw("<rect x=\"").at(left).raw("\" y=\"").at(top);
    svg.raw("\" width=\"").at(x(value) - left);
    svg.raw("\" height=\"").at(height).raw("\" fill=\"");
    svg.append(&fill(index));
    svg.raw("\" stroke=\"#1a1a1a\" stroke-width=\"0.7\"/>");
    if let Some((low, high)) = estimate.and_then(|estimate| estimate.interval) {
        let (low, high, middle) = (x(low), x(high), top + height / 2.0);
        let cap = height / 3.0;
        // White below black is seen on any pattern.
        for (colour, width) in [("#ffffff", "4.5"), ("#1a1a1a", "1.6")] {
            svg.raw("<path d=\"M").at(low).raw(" ").at(middle);
            svg.raw("H").at(high);
            for end in [low, high] {
                svg.raw("M").at(end).raw(" ").at(middle - cap);
                svg.raw("V").at(middle + cap);
            }
            svg.raw("\" fill=\"none\" stroke=\"").raw(colour);
            svg.raw("\" stroke-width=\"").raw(width).raw("\"/>");
        }
    }
    svg.raw("\n");
}

fn figure(estimate: Option<Estimate>) -> String {
    match estimate {
        Some(e) if e.value.is_none() && e.num_unscored > 0 => {
            format!("none of {} scored", e.num_unscored)
        }
        Some(e) if e.value.is_some() => {
            let bare = Estimate {
                num_unscored: 0,
                ..e
            };
            cell(Some(bare), 100.0, 1)
        }
        _ => "not measured".into(),
    }
}

pub(super) fn shortened(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    short.push('…');
    short
}
