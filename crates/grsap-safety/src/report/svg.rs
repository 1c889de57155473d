//! A bar chart by hand: one group for each metric, one bar for each arm, whiskers for intervals.

use std::fmt::Write;

use super::escape::escape;
use super::palette::{definitions, fill};
use super::{Report, table};
use crate::Estimate;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 84.0;
const PLOT_HEIGHT: f64 = 320.0;
const BOTTOM: f64 = 64.0;
const BAR: f64 = 26.0;
const BAR_GAP: f64 = 8.0;
const GROUP_GAP: f64 = 36.0;
const MIN_WIDTH: f64 = 480.0;
/// Roughly what a character of the legend takes.
const CHAR_WIDTH: f64 = 8.4;

pub(super) fn render(report: &Report) -> String {
    let metrics = table::measured(report.arms.iter());
    let num_arms = report.arms.len().max(1) as f64;
    let group_width = num_arms * (BAR + BAR_GAP) - BAR_GAP;
    let pitch = group_width.max(96.0) + GROUP_GAP;
    let plot_width = (metrics.len() as f64 * pitch).max(MIN_WIDTH - LEFT - RIGHT);
    let (legend, legend_height) = legend(report, LEFT + plot_width);
    let top = TOP + legend_height;
    let width = LEFT + plot_width + RIGHT;
    let height = top + PLOT_HEIGHT + BOTTOM;

    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="Helvetica, Arial, sans-serif" role="img">
<title>{title}</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="32" font-size="18" font-weight="bold" fill="#1a1a1a">{title}</text>
<text x="{LEFT}" y="54" font-size="13" fill="#555555">Rates with 95% intervals, seed {seed}</text>"##,
        title = escape(&report.model),
        seed = report.seed,
    );
    svg.push_str(&definitions().to_string());
    svg.push_str(&legend);
    axis(&mut svg, top, plot_width);
    for (index, metric) in metrics.iter().enumerate() {
        let name = metric.name;
        let centre = LEFT + (index as f64 + 0.5) * plot_width / metrics.len() as f64;
        let _ = writeln!(
            svg,
            r##"<text x="{centre:.1}" y="{y:.1}" font-size="15" text-anchor="middle" fill="#1a1a1a">{name}</text><text x="{centre:.1}" y="{hint_y:.1}" font-size="12" text-anchor="middle" fill="#555555">{hint}</text>"##,
            y = top + PLOT_HEIGHT + 26.0,
            hint_y = top + PLOT_HEIGHT + 44.0,
            hint = metric.direction(),
        );
        for (arm_index, arm) in report.arms.iter().enumerate() {
            let x = centre - group_width / 2.0 + arm_index as f64 * (BAR + BAR_GAP);
            bar(
                &mut svg,
                x,
                top,
                arm_index,
                (metric.get)(arm),
                &format!("{}, {name}", arm.name),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The arms' names and colours, and the height they take beyond one line.
fn legend(report: &Report, right: f64) -> (String, f64) {
    let (mut x, mut y) = (LEFT, 70.0);
    let mut svg = String::new();
    for (index, arm) in report.arms.iter().enumerate() {
        let step = 38.0 + CHAR_WIDTH * arm.name.chars().count() as f64;
        if x > LEFT && x + step > right {
            x = LEFT;
            y += 22.0;
        }
        let _ = writeln!(
            svg,
            r##"<rect x="{x:.1}" y="{y:.1}" width="13" height="13" fill="{fill}"/><text x="{text_x:.1}" y="{text_y:.1}" font-size="14" fill="#1a1a1a">{name}</text>"##,
            fill = fill(index),
            text_x = x + 19.0,
            text_y = y + 11.5,
            name = escape(&arm.name),
        );
        x += step;
    }
    (svg, y - 70.0 + 24.0)
}

fn axis(svg: &mut String, top: f64, plot_width: f64) {
    for percent in [0_u8, 25, 50, 75, 100] {
        let y = level(top, f64::from(percent) / 100.0);
        let stroke = if percent == 0 { "#1a1a1a" } else { "#dddddd" };
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" x2="{x2:.1}" y1="{y:.1}" y2="{y:.1}" stroke="{stroke}"/><text x="{text_x}" y="{text_y:.1}" font-size="13" text-anchor="end" fill="#555555">{percent}</text>"##,
            x2 = LEFT + plot_width,
            text_x = LEFT - 8.0,
            text_y = y + 4.5,
        );
    }
    let middle = top + PLOT_HEIGHT / 2.0;
    let _ = writeln!(
        svg,
        r##"<text x="20" y="{middle:.1}" font-size="14" text-anchor="middle" fill="#1a1a1a" transform="rotate(-90 20 {middle:.1})">% of samples</text>"##,
    );
}

fn bar(svg: &mut String, x: f64, top: f64, index: usize, estimate: Option<Estimate>, name: &str) {
    let centre = x + BAR / 2.0;
    let base = level(top, 0.0);
    let Some(value) = estimate.and_then(|estimate| estimate.value) else {
        let _ = writeln!(
            svg,
            r##"<text x="{centre:.1}" y="{y:.1}" font-size="11" text-anchor="middle" fill="#555555">n/a<title>{name}: not scored</title></text>"##,
            y = base - 5.0,
            name = escape(name),
        );
        return;
    };
    let y = level(top, value);
    let _ = writeln!(
        svg,
        r##"<rect x="{x:.1}" y="{y:.1}" width="{BAR}" height="{h:.1}" fill="{fill}"><title>{name}: {percent:.1}%</title></rect>"##,
        h = base - y,
        name = escape(name),
        percent = 100.0 * value,
        fill = fill(index),
    );
    let mut label_y = y;
    if let Some((low, high)) = estimate.and_then(|estimate| estimate.interval) {
        let (y_low, y_high) = (level(top, low), level(top, high));
        label_y = y_high;
        let (cap_left, cap_right) = (centre - 5.0, centre + 5.0);
        let _ = writeln!(
            svg,
            r##"<path d="M{centre:.1} {y_low:.1}V{y_high:.1}M{cap_left:.1} {y_high:.1}H{cap_right:.1}M{cap_left:.1} {y_low:.1}H{cap_right:.1}" stroke="#1a1a1a" stroke-width="1.4" fill="none"/>"##,
        );
    }
    let _ = writeln!(
        svg,
        r##"<text x="{centre:.1}" y="{y:.1}" font-size="12" text-anchor="middle" fill="#1a1a1a">{percent:.0}</text>"##,
        y = label_y - 5.0,
        percent = 100.0 * value,
    );
}

/// Where a fraction lies; values outside [0, 1] stay at the edge.
fn level(top: f64, fraction: f64) -> f64 {
    top + PLOT_HEIGHT * (1.0 - fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::sample;
    use super::*;

    #[test]
    fn there_is_a_bar_for_every_value() {
        let svg = sample().to_svg();
        // 5 arms, 5 metrics, one of them without a value; the legend has 5 squares more.
        assert_eq!(svg.matches("%</title></rect>").count(), 24);
        assert_eq!(svg.matches("not scored").count(), 1);
        // A path for each whisker and each of the 7 patterns.
        assert_eq!(svg.matches("<path").count(), 24 + 7);
        assert_eq!(svg.matches(r#"width="13""#).count(), 5);
    }

    #[test]
    fn text_is_escaped() {
        let mut report = sample();
        report.arms[0].name = "\"a\" <b>\u{1}".into();
        let svg = report.to_svg();
        assert!(svg.contains("tiny &lt;model&gt; &amp; co"));
        assert!(svg.contains("&quot;a&quot; &lt;b&gt; "));
        assert!(!svg.contains('\u{1}'));
    }

    #[test]
    fn a_bar_is_as_tall_as_its_value() {
        assert_eq!(level(10.0, 1.0), 10.0);
        assert_eq!(level(10.0, 0.25), 10.0 + 0.75 * PLOT_HEIGHT);
        assert_eq!(level(10.0, 7.0), 10.0);
    }

    #[test]
    fn an_empty_report_is_still_an_image() {
        let svg = Report::new("m", 0).to_svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
