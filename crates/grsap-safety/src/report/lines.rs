//! A chart of rates over training: a line with markers for each metric, whiskers for intervals.

use super::TrainingPoint;
use super::markup::Markup;
use super::palette::colour;
use super::table::{Column, measured};

const WIDTH: f64 = 420.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const PLOT_HEIGHT: f64 = 230.0;
const LEGEND_ROW: f64 = 22.0;

/// Kinds of line, so that they can be told apart without colours.
const DASHES: [&str; 5] = ["", "9 4", "2 3", "12 3 2 3", "5 5"];

/// A picture to stand alone, or to stand in a page.
pub(super) fn render(points: &[TrainingPoint], alone: bool) -> Markup {
    let columns = measured(points.iter().map(|point| &point.figures));
    let base = TOP + PLOT_HEIGHT;
    let legend_top = base + 52.0;
    let height = legend_top + LEGEND_ROW * columns.len() as f64;
    let mut svg = Markup::default();
    svg.raw("<svg ");
    if alone {
        svg.raw(
            "xmlns=\"http://www.w3.org/2000/svg\" font-family=\"Helvetica, Arial, sans-serif\" ",
        );
        svg.raw("width=\"").at(WIDTH).raw("\" height=\"").at(height);
        svg.raw("\" ");
    }
    svg.raw("viewBox=\"0 0 ").at(WIDTH).raw(" ").at(height);
    svg.raw("\" role=\"img\" aria-label=\"Rates against the number of training examples seen\">\n");
    if alone {
        svg.raw("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    }
    let last = points.iter().map(|point| point.num_examples).max();
    let scale = Scale {
        last: last.unwrap_or(0).max(1) as f64,
    };
    axes(&mut svg, &scale);
    for (index, column) in columns.iter().enumerate() {
        series(&mut svg, &scale, points, *column, index, columns.len());
        let y = legend_top + LEGEND_ROW * index as f64;
        line(&mut svg, index, &[(6.0, y), (50.0, y)]);
        marker(&mut svg, index, 28.0, y);
        svg.raw("<text x=\"").at(60.0).raw("\" y=\"").at(y + 4.5);
        svg.raw("\" font-size=\"14\" fill=\"#1a1a1a\">");
        svg.text(column.name).raw(" <tspan fill=\"#555555\">(");
        svg.text(column.of).raw("; ").text(column.direction());
        svg.raw(")</tspan></text>\n");
    }
    svg.raw("</svg>\n");
    svg
}

struct Scale {
    last: f64,
}

impl Scale {
    fn x(&self, num_examples: f64) -> f64 {
        LEFT + 10.0 + (WIDTH - LEFT - RIGHT - 20.0) * num_examples / self.last
    }

    fn y(fraction: f64) -> f64 {
        TOP + PLOT_HEIGHT * (1.0 - fraction.clamp(0.0, 1.0))
    }

    /// At most six round numbers.
    fn ticks(&self) -> Vec<usize> {
        let mut step = 1;
        let mut factors = [2, 5, 10].into_iter().cycle();
        let mut unit = 1;
        while self.last / f64::from(step) > 5.0 {
            let factor = factors.next().unwrap_or(10);
            step = unit * factor;
            if factor == 10 {
                unit *= 10;
            }
        }
        let step = usize::try_from(step).unwrap_or(1);
        (0..=self.last as usize).step_by(step).collect()
    }
}

fn axes(svg: &mut Markup, scale: &Scale) {
    for percent in [0_u8, 25, 50, 75, 100] {
        let y = Scale::y(f64::from(percent) / 100.0);
        svg.raw("<line x1=\"").at(LEFT).raw("\" x2=\"");
        svg.at(WIDTH - RIGHT).raw("\" y1=\"").at(y);
        svg.raw("\" y2=\"").at(y).raw("\" stroke=\"");
        svg.raw(if percent == 0 { "#1a1a1a" } else { "#dddddd" });
        svg.raw("\"/><text x=\"").at(LEFT - 7.0).raw("\" y=\"");
        svg.at(y + 4.5);
        svg.raw("\" font-size=\"13\" text-anchor=\"end\" fill=\"#555555\">");
        svg.count(usize::from(percent));
        svg.raw(if percent == 100 { "%" } else { "" });
        svg.raw("</text>\n");
    }
    let base = Scale::y(0.0);
    for tick in scale.ticks() {
        let x = scale.x(tick as f64);
        svg.raw("<text x=\"").at(x).raw("\" y=\"").at(base + 18.0);
        svg.raw("\" font-size=\"13\" text-anchor=\"middle\" fill=\"#555555\">");
        svg.count(tick).raw("</text>\n");
    }
    svg.raw("<text x=\"").at((LEFT + WIDTH - RIGHT) / 2.0);
    svg.raw("\" y=\"").at(base + 35.0);
    svg.raw("\" font-size=\"13\" text-anchor=\"middle\" fill=\"#1a1a1a\">training examples seen</text>\n");
}

/// One metric; where it has no value the line is broken.
fn series(
    svg: &mut Markup,
    scale: &Scale,
    points: &[TrainingPoint],
    column: Column,
    index: usize,
    num_columns: usize,
) {
    // Beside each other, so that no whisker hides another.
    let shift = 5.0 * (index as f64 - (num_columns.saturating_sub(1)) as f64 / 2.0) / 2.0;
    let mut run: Vec<(f64, f64)> = Vec::new();
    let mut marks: Vec<(f64, f64)> = Vec::new();
    for point in points {
        let x = scale.x(point.num_examples as f64) + shift;
        let estimate = (column.get)(&point.figures);
        let Some(value) = estimate.and_then(|estimate| estimate.value) else {
            line(svg, index, &run);
            run.clear();
            continue;
        };
        if let Some((low, high)) = estimate.and_then(|estimate| estimate.interval) {
            svg.raw("<path d=\"M").at(x).raw(" ").at(Scale::y(low));
            svg.raw("V").at(Scale::y(high));
            svg.raw("\" stroke=\"").raw(colour(index));
            svg.raw("\" stroke-width=\"1.2\" stroke-opacity=\"0.6\"/>\n");
        }
        run.push((x, Scale::y(value)));
        marks.push((x, Scale::y(value)));
    }
    line(svg, index, &run);
    for (x, y) in marks {
        marker(svg, index, x, y);
    }
}

fn line(svg: &mut Markup, index: usize, points: &[(f64, f64)]) {
    if points.len() < 2 {
        return;
    }
    svg.raw("<polyline points=\"");
    for (x, y) in points {
        svg.at(*x).raw(",").at(*y).raw(" ");
    }
    svg.raw("\" fill=\"none\" stroke-width=\"2\" stroke=\"")
        .raw(colour(index));
    svg.raw("\" stroke-dasharray=\"");
    svg.raw(DASHES.get(index % DASHES.len()).copied().unwrap_or(""));
    svg.raw("\"/>\n");
}

/// A shape of its own for each metric: square, disc, triangle, diamond, triangle upside down.
fn marker(svg: &mut Markup, index: usize, x: f64, y: f64) {
    let corners: &[(f64, f64)] = match index % 5 {
        0 => &[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)],
        1 => {
            svg.raw("<circle cx=\"").at(x).raw("\" cy=\"").at(y);
            svg.raw("\" r=\"5\" stroke=\"#1a1a1a\" stroke-width=\"0.8\" fill=\"");
            svg.raw(colour(index)).raw("\"/>\n");
            return;
        }
        2 => &[(0.0, -6.0), (5.5, 4.5), (-5.5, 4.5)],
        3 => &[(0.0, -6.5), (6.0, 0.0), (0.0, 6.5), (-6.0, 0.0)],
        _ => &[(0.0, 6.0), (5.5, -4.5), (-5.5, -4.5)],
    };
    svg.raw("<polygon points=\"");
    for (dx, dy) in corners {
        svg.at(x + dx).raw(",").at(y + dy).raw(" ");
    }
    svg.raw("\" stroke=\"#1a1a1a\" stroke-width=\"0.8\" fill=\"");
    svg.raw(colour(index)).raw("\"/>\n");
}

#[cfg(test)]
mod tests {
    use super::super::experiment::tests::sample;
    use super::*;

    #[test]
    fn every_value_has_a_marker_and_every_metric_a_line_and_a_legend() {
        let report = sample();
        let svg = render(&report.over_training, true).to_string();
        // 4 checkpoints; 4 metrics, one of which has no value at one checkpoint, which breaks its
        // line; and the legend.
        assert_eq!(report.over_training.len(), 4);
        assert_eq!(
            svg.matches("<circle").count() + svg.matches("<polygon").count(),
            15 + 4
        );
        assert_eq!(svg.matches("<polyline").count(), 4 + 4);
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn ticks_are_few_and_round() {
        let ticks = |last| Scale { last }.ticks();
        assert_eq!(ticks(1.0), [0, 1]);
        assert_eq!(ticks(240.0), [0, 50, 100, 150, 200]);
        assert_eq!(ticks(7168.0), [0, 2000, 4000, 6000]);
        assert_eq!(
            ticks(1e6),
            [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]
        );
    }

    #[test]
    fn nothing_to_show_is_still_an_image() {
        let svg = render(&[], true).to_string();
        assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
