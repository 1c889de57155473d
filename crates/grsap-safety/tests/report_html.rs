//! The HTML report: well-formed, asks for nothing from elsewhere, and text stays text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/sample_report.rs"]
mod sample_report;

use grsap_safety::{Outcome, Report};
use sample_report::{HOSTILE, hostile, plain};

/// An element's name and attributes, or text, in the order of the file.
#[derive(Debug, PartialEq)]
enum Piece {
    Open(String, Vec<(String, String)>),
    Close(String),
    Text(String),
}

/// Parts markup that is written as strictly as XML; fails where it is not.
fn pieces(html: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        if at > 0 {
            pieces.push(Piece::Text(unescaped(&rest[..at])));
        }
        // No attribute holds a bare angle bracket, so a tag ends at the first.
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}>");
            pieces.push(Piece::Close(name.into()));
            continue;
        }
        let is_empty = tag.ends_with('/');
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{name}>");
        let mut pairs = Vec::new();
        while let Some((key, value)) = attributes.trim_start().split_once("=\"") {
            let (value, after) = value.split_once('"').expect("a value ends");
            pairs.push((key.to_owned(), unescaped(value)));
            attributes = after;
        }
        assert!(["", "open"].contains(&attributes.trim()), "<{tag}>");
        pieces.push(Piece::Open(name.into(), pairs));
        if !is_empty {
            open.push(name.into());
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    pieces
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains(['<', '>']), "{text}");
    for (at, _) in text.match_indices('&') {
        let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(entities.iter().any(|e| text[at..].starts_with(e)), "{text}");
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

fn texts(pieces: &[Piece]) -> String {
    let texts = pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// How often each element occurs.
fn shape(pieces: &[Piece]) -> Vec<&str> {
    let mut names: Vec<&str> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Open(name, _) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn it_is_well_formed_and_asks_for_nothing() {
    for report in [plain(), hostile(), Report::new("m", 0)] {
        let html = report.to_html();
        let pieces = pieces(&html);
        for piece in &pieces {
            let Piece::Open(name, attributes) = piece else {
                continue;
            };
            let elements = [
                "script", "link", "iframe", "object", "embed", "img", "base", "form",
            ];
            assert!(!elements.contains(&name.as_str()), "<{name}>");
            for (key, value) in attributes {
                assert!(!key.starts_with("on"), "{key}");
                assert!(
                    !["src", "srcset", "action", "style"].contains(&key.as_str()),
                    "{key}"
                );
                if key.contains("href") {
                    assert!(value.starts_with('#'), "{value}");
                }
                if value.contains("url(") {
                    assert!(value.starts_with("url(#ink-"), "{value}");
                }
            }
        }
        let policy = Piece::Open(
            "meta".into(),
            vec![
                ("http-equiv".into(), "Content-Security-Policy".into()),
                (
                    "content".into(),
                    "default-src 'none'; style-src 'unsafe-inline'".into(),
                ),
            ],
        );
        assert!(pieces.contains(&policy));
        let style = html
            .split("<style>")
            .nth(1)
            .unwrap()
            .split("</style>")
            .next()
            .unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"));
    }
}

#[test]
fn hostile_text_adds_no_element_and_loses_no_character() {
    let (plain, hostile) = (plain().to_html(), hostile().to_html());
    let (plain, hostile) = (pieces(&plain), pieces(&hostile));
    // An empty answer is said to be one, in italics.
    let expected: Vec<&str> = shape(&hostile)
        .into_iter()
        .filter(|name| *name != "i")
        .collect();
    assert_eq!(shape(&plain), expected);
    let text = texts(&hostile);
    for hostile in HOSTILE {
        let seen: String = hostile
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        assert!(text.contains(&seen), "{seen}");
    }
    let is_wrong = |c: char| c.is_control() && !"\n\t".contains(c);
    assert!(!text.contains(is_wrong));
}

#[test]
fn the_verdict_comes_first_and_every_part_is_there() {
    let report = plain();
    let html = report.to_html();
    let text = texts(&pieces(&html));
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?}"));
    let parts = [
        "Fail",
        "refuses fewer harmful prompts",
        "the limit is a loss of 5",
        "Figures",
        "Charts",
        "By domain",
        "Over training",
        "Paired tests",
        "Where models differ",
        "Judges",
        "Synthesis",
        "Provenance",
        "Settings",
    ];
    // The list of links names the sections once more; the sections are behind it.
    let from = text.rfind("In brackets").unwrap();
    assert!(at(parts[0]) < at(parts[1]) && at(parts[1]) < at(parts[2]) && at(parts[2]) < from);
    let mut last = 0;
    for part in &parts[4..] {
        let at = from
            + text[from..]
                .find(part)
                .unwrap_or_else(|| panic!("no {part:?}"));
        assert!(at > last, "{part}");
        last = at;
    }
    for figure in [
        "47.0",
        "[37.5, 56.7]",
        "none of 100 scored",
        "accuracy 0.",
        "AUC",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "gr_sap --seed 7 --out target/gr_sap",
        "7, 8, 9",
    ] {
        at(figure);
    }
    assert_eq!(html, report.to_html());
}

#[test]
fn examples_that_are_not_mild_are_behind_a_switch_that_is_off() {
    let html = plain().to_html();
    let (open, hidden) = html.split_once("<details class=\"hidden-flips\">").unwrap();
    assert!(open.contains("kill the lights") && !open.contains("HIDDEN-AT-FIRST"));
    assert_eq!(hidden.matches("HIDDEN-AT-FIRST").count(), 2);
    assert!(hidden.contains("<summary>Show 2 more examples that may be harmful to read</summary>"));
    assert!(!html.contains("<details open"));
}

#[test]
fn a_report_without_a_decision_says_so() {
    let mut report = plain();
    report.decision = None;
    assert!(report.to_html().contains("No decision"));
    for (outcome, word) in [
        (Outcome::Pass, " Pass</p>"),
        (Outcome::Fail, " Fail</p>"),
        (Outcome::Undecided, " Undecided</p>"),
    ] {
        report.decision = plain().decision;
        report.decision.as_mut().unwrap().outcome = outcome;
        assert!(report.to_html().contains(word));
    }
}

#[test]
fn all_of_it_is_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    for report in [plain(), hostile()] {
        report.write(folder.path()).unwrap();
        let path = folder.path().join("report.json");
        assert_eq!(Report::load(path).unwrap(), report);
        let html = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert_eq!(html, report.to_html());
    }
}
