//! The HTML report as a browser lays it out, at the widths of a phone and of a desk.
//!
//! Needs Chromium (`apt-get install chromium`), so it is behind the feature `browser`: without
//! Chromium it fails rather than passes. Screenshots are kept in `target/tmp/report`.
// Failing is what the helpers of a test do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../crates/grsap-safety/tests/support/sample_report.rs"]
mod sample_report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use grsap_safety::Report;
use serde_json::Value;

const WIDTHS: [u32; 2] = [390, 1280];

/// What a report is measured by in a page around it. `narrow` texts would be too small to read, and
/// texts of one picture must not lie upon each other.
const MEASURE: &str = r##"
const root = document.documentElement;
const measure = () => {
  const beyond = [], small = [], upon = [];
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || element.closest("svg.patterns, title")) continue;
    if (box.right > innerWidth + 1 || box.left < -1) beyond.push(element.outerHTML.slice(0, 90));
    const own = [...element.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
    if (!own) continue;
    const svg = element.closest("svg");
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    if (parseFloat(getComputedStyle(element).fontSize) * scale < 10.5) small.push(element.outerHTML.slice(0, 90));
  }
  for (const svg of document.querySelectorAll("figure svg")) {
    const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [i, [a, x]] of texts.entries())
      for (const [b, y] of texts.slice(i + 1))
        if (x.left < y.right - 1 && y.left < x.right - 1 && x.top < y.bottom - 4 && y.top < x.bottom - 4)
          upon.push(a + " / " + b);
  }
  const shown = [...document.querySelectorAll(".hidden-flips article")].filter(a => a.checkVisibility());
  return {
    width: innerWidth, scrollWidth: root.scrollWidth, height: root.scrollHeight, beyond, small, upon,
    num_shown: shown.length, num_h1: document.querySelectorAll("h1").length, title: document.title,
    first: document.querySelector("main").firstElementChild.id,
    top: document.querySelector("#verdict .outcome").getBoundingClientRect().bottom,
    num_scripts: document.scripts.length, sections: document.querySelectorAll("main section").length,
  };
};
const before = measure();
for (const details of document.querySelectorAll("details")) details.open = true;
const after = measure();
parent.postMessage(JSON.stringify({ before, after }), "*");
"##;

fn chromium() -> PathBuf {
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("this test needs Chromium: apt-get install chromium"))
}

/// No window is narrower than this, so a phone is a frame in a window.
const MIN_WINDOW: u32 = 500;

/// A page around `report`, of the width that is asked for; it writes down what it is told.
fn framed(report: &str, width: u32, height: u32) -> String {
    format!(
        r##"<!DOCTYPE html><html><body style="margin:0;background:#999"><pre id="measured"></pre>
<script>onmessage = message => document.querySelector("pre").textContent = message.data</script>
<iframe src="{report}" style="position:absolute;left:0;top:0;border:0;width:{width}px;height:{height}px"></iframe>
</body></html>"##
    )
}

/// Runs Chromium on a page and returns what it prints.
fn browse(folder: &Path, page: &Path, width: u32, height: u32, arguments: &[String]) -> String {
    let output = Command::new(chromium())
        // The sandbox cannot start as root, as whom CI runs.
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--no-first-run",
        ])
        .arg(format!("--window-size={},{height}", width.max(MIN_WINDOW)))
        .arg("--virtual-time-budget=4000")
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Lays the report out, before and after everything that can be opened is open.
fn measure(folder: &Path, report: &Report, width: u32) -> (Value, Value) {
    let html = report.to_html();
    let start = html.find("<meta http-equiv").unwrap();
    let end = start + html[start..].find('>').unwrap() + 1;
    // The page's own policy would stop our script, too.
    let measured = [&html[..start], &html[end..]].concat();
    let measured = measured.replace("</body>", &format!("<script>{MEASURE}</script></body>"));
    fs::write(folder.join("measured.html"), measured).unwrap();
    let page = folder.join("frame.html");
    fs::write(&page, framed("measured.html", width, 900)).unwrap();
    let dom = browse(folder, &page, width, 900, &["--dump-dom".into()]);
    let json = dom.split("<pre id=\"measured\">").nth(1).unwrap();
    let json = json.split("</pre>").next().unwrap();
    let json = json
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let mut json: Value = serde_json::from_str(&json).unwrap();
    (json["before"].take(), json["after"].take())
}

fn check_layout(measured: &Value, width: u32, what: &str) {
    assert_eq!(measured["width"], width, "{what}");
    assert_eq!(measured["scrollWidth"], width, "{what}: {measured}");
    for list in ["beyond", "small", "upon"] {
        assert!(
            measured[list].as_array().unwrap().is_empty(),
            "{what}, {list}: {measured:#}"
        );
    }
    assert_eq!(measured["first"], "verdict", "{what}");
    assert_eq!(measured["num_h1"], 1, "{what}");
    assert_eq!(measured["num_scripts"], 1, "{what}: ours alone");
    assert_eq!(measured["sections"], 11, "{what}");
}

/// Width and height of a PNG.
fn size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Pictures of reports are kept where people find them.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn check(name: &str, report: &Report) {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, report.to_html()).unwrap();
    fs::copy(&page, pictures().join(format!("{name}.html"))).unwrap();
    for width in WIDTHS {
        let what = format!("{name} at {width}");
        let (before, after) = measure(folder.path(), report, width);
        check_layout(&before, width, &what);
        check_layout(&after, width, &format!("{what}, all open"));
        // The verdict is seen without scrolling, and nothing that may be harmful is.
        assert!(before["top"].as_f64().unwrap() < 700.0, "{what}: {before}");
        let num_hidden = report.flips.iter().filter(|flip| !flip.is_mild).count();
        assert_eq!(before["num_shown"], 0, "{what}");
        assert_eq!(after["num_shown"], num_hidden, "{what}");
        let title = format!("{}: safety report", report.model);
        assert_eq!(before["title"], title, "{what}");

        let picture = pictures().join(format!("{name}-{width}.png"));
        let height = u32::try_from(before["height"].as_u64().unwrap())
            .unwrap()
            .min(16_000);
        let screenshot = format!("--screenshot={}", picture.display());
        let frame = folder.path().join("frame.html");
        fs::write(&frame, framed("report.html", width, height)).unwrap();
        browse(folder.path(), &frame, width, height, &[screenshot]);
        let png = fs::read(&picture).unwrap();
        assert_eq!(size(&png), (width.max(MIN_WINDOW), height), "{what}");
        // A blank page of this size is a few kilobytes.
        assert!(png.len() > 60_000, "{what}: {} bytes", png.len());
    }
    let pdf = pictures().join(format!("{name}.pdf"));
    let print = [
        format!("--print-to-pdf={}", pdf.display()),
        "--no-pdf-header-footer".into(),
    ];
    browse(folder.path(), &page, 1280, 900, &print);
    assert!(fs::read(&pdf).unwrap().starts_with(b"%PDF"));
}

#[test]
fn a_report_looks_right_on_phone_desk_and_paper() {
    check("plain", &sample_report::plain());
}

#[test]
fn hostile_text_moves_nothing_out_of_place() {
    check("hostile", &sample_report::hostile());
}

/// The page itself, with its policy, runs nothing that stands in it.
#[test]
fn nothing_in_the_page_runs() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let html = sample_report::plain().to_html();
    let script = "<script>document.title = 'ran'</script></body>";
    fs::write(&page, html.replace("</body>", script)).unwrap();
    let dom = browse(folder.path(), &page, 390, 900, &["--dump-dom".into()]);
    assert!(dom.contains("<title>A small model, aligned and tuned: safety report</title>"));
}
