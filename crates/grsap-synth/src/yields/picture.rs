//! A bar for each domain: what can be trained on, then what fell, stage by stage.

use std::fmt::Write;

use super::{DomainYield, Yields};

/// Rows to train on, and rows that stayed unsafe.
const EASY: &str = "#0072b2";
const HARD: &str = "#56b4e9";
const UNSAFE: &str = "#1a1a1a";
/// What fell: the other colours of Okabe and Ito, and greys.
const FELL: [&str; 7] = [
    "#cccccc", "#8c8c8c", "#f0e442", "#e69f00", "#d55e00", "#cc79a7", "#009e73",
];

const LEFT: f64 = 300.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 84.0;
const PLOT_WIDTH: f64 = 560.0;
const BAR: f64 = 13.0;
const PITCH: f64 = 19.0;
const BOTTOM: f64 = 44.0;
/// Roughly what a character of the legend takes.
const CHAR_WIDTH: f64 = 8.4;

pub(super) fn render(yields: &Yields) -> String {
    let total = yields.total();
    let parts = parts(yields, &total);
    let most = yields.domains.iter().map(|d| d.num_samples).max();
    let most = most.unwrap_or_default().max(1) as f64;
    let (legend, legend_height) = legend(&parts);
    let top = TOP + legend_height;
    let bottom = top + PITCH * yields.domains.len() as f64;
    let (width, height) = (LEFT + PLOT_WIDTH + RIGHT, bottom + BOTTOM);
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="Helvetica, Arial, sans-serif" role="img">
<title>Yields by domain</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="24" y="32" font-size="18" font-weight="bold" fill="#1a1a1a">Yields by domain</text>
<text x="24" y="54" font-size="13" fill="#555555">{kept} of {sampled} candidates can be trained on</text>"##,
        kept = total.num_trainable(),
        sampled = total.num_samples,
    );
    svg.push_str(&legend);
    for part in 0..=4_u8 {
        let share = f64::from(part) / 4.0;
        let x = LEFT + share * PLOT_WIDTH;
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}" stroke="#dddddd"/><text x="{x:.1}" y="{y:.1}" font-size="13" text-anchor="middle" fill="#555555">{num:.0}</text>"##,
            y = bottom + 18.0,
            num = share * most,
        );
    }
    for (index, domain) in yields.domains.iter().enumerate() {
        let y = top + index as f64 * PITCH + (PITCH - BAR) / 2.0;
        bar(&mut svg, domain, &parts, y, PLOT_WIDTH / most);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A part of a bar: its name, its colour, its number.
type Part<'a> = (&'a str, &'static str, Box<dyn Fn(&DomainYield) -> usize>);

/// The parts that any domain has.
fn parts<'a>(yields: &'a Yields, total: &DomainYield) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = vec![
        ("easy", EASY, Box::new(|d| d.num_easy)),
        ("hard, revised", HARD, Box::new(|d| d.num_hard)),
        ("unsafe", UNSAFE, Box::new(|d| d.num_unsafe)),
    ];
    for (stage, name) in yields.stages.iter().enumerate() {
        let colour = FELL.get(stage % FELL.len()).copied().unwrap_or(UNSAFE);
        let num = move |d: &DomainYield| d.num_dropped.get(stage).copied().unwrap_or_default();
        parts.push((name, colour, Box::new(num)));
    }
    parts.retain(|(_, _, num)| num(total) > 0);
    parts
}

/// The names and colours of the parts, and the height they take beyond one line.
fn legend(parts: &[Part<'_>]) -> (String, f64) {
    let (mut x, mut y) = (24.0, 70.0);
    let mut svg = String::new();
    for (name, colour, _) in parts {
        let step = 38.0 + CHAR_WIDTH * name.chars().count() as f64;
        if x > 24.0 && x + step > LEFT + PLOT_WIDTH + RIGHT {
            x = 24.0;
            y += 22.0;
        }
        let _ = writeln!(
            svg,
            r##"<rect x="{x:.1}" y="{y:.1}" width="13" height="13" fill="{colour}"/><text x="{text_x:.1}" y="{text_y:.1}" font-size="14" fill="#1a1a1a">{name}</text>"##,
            text_x = x + 19.0,
            text_y = y + 11.5,
            name = escape(name),
        );
        x += step;
    }
    (svg, y - 70.0 + 14.0)
}

fn bar(svg: &mut String, domain: &DomainYield, parts: &[Part<'_>], y: f64, scale: f64) {
    let name = escape(&domain.domain);
    let text_y = y + BAR - 2.0;
    let _ = writeln!(
        svg,
        r##"<text x="{x:.1}" y="{text_y:.1}" font-size="13" text-anchor="end" fill="#1a1a1a">{name}</text>"##,
        x = LEFT - 8.0,
    );
    let mut x = LEFT;
    for (part, colour, num) in parts {
        let num = num(domain);
        if num == 0 {
            continue;
        }
        let width = num as f64 * scale;
        let _ = writeln!(
            svg,
            r##"<rect x="{x:.2}" y="{y:.1}" width="{width:.2}" height="{BAR}" fill="{colour}"><title>{name}, {part}: {num}</title></rect>"##,
            part = escape(part),
        );
        x += width;
    }
    if let Some(ratio) = domain.yield_ratio() {
        let _ = writeln!(
            svg,
            r##"<text x="{x:.1}" y="{text_y:.1}" font-size="12" fill="#555555">{percent:.0}%</text>"##,
            x = x + 6.0,
            percent = 100.0 * ratio,
        );
    }
}

/// Text for XML; control characters, which XML cannot carry, become blanks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
