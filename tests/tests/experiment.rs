//! The experiment of `examples/gr_sap.rs` at its smallest size, on the real model: it runs to its
//! report, and a run that is killed again and again ends with the same one.
// Failing is what the helpers of a test do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

fn start(out: &Path) -> Child {
    let log = fs::File::create(out.with_extension("log")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(grsap_tests::example("gr_sap"))
        .args(["--quick", "--out"])
        .arg(out)
        .current_dir(root)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn log(out: &Path) -> String {
    fs::read_to_string(out.with_extension("log")).unwrap()
}

/// Runs to the end.
fn finish(out: &Path) -> Value {
    let status = start(out).wait().unwrap();
    assert!(status.success(), "{status}\n{}", log(out));
    let mut report: Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    // Times differ from run to run.
    report.as_object_mut().unwrap().remove("seconds").unwrap();
    // The command names the folder.
    let provenance = report["provenance"].as_object_mut().unwrap();
    let command = provenance.remove("command").unwrap();
    assert!(command.as_str().unwrap().contains("--quick"), "{command}");
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("id=\"verdict\"") && html.ends_with("</html>\n"));
    report
}

/// The folder that the run keeps its stages in.
fn run_dir(out: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(out).ok()?;
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| path.join("settings.json").is_file())
}

/// Kills a run as soon as `file` is there.
fn kill_at(out: &Path, file: &str) {
    let mut child = start(out);
    loop {
        if run_dir(out).is_some_and(|dir| dir.join(file).exists()) {
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{status} without {file}\n{}", log(out));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let whole = finish(&folder.path().join("whole"));

    let arms: Vec<&str> = whole["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| arm["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        arms,
        ["shipped", "aligned", "no_replay", "gr_sap", "original"]
    );
    for arm in whole["arms"].as_array().unwrap() {
        for figure in [
            "refusal_rate",
            "harmful_score",
            "over_refusal_rate",
            "task_accuracy",
        ] {
            let figure = &arm[figure];
            let [value, low, high] = ["value", "low", "high"].map(|k| figure[k].as_f64().unwrap());
            assert!(0.0 <= low && low <= value && value <= high && high <= 1.0);
            let counts = ["num_scored", "num_unscored"].map(|k| figure[k].as_u64().unwrap());
            assert!(counts[0] > 0, "{figure}");
        }
    }
    for part in ["decision", "judges"] {
        assert!(!whole[part].is_null(), "{part}: {whole}");
    }
    assert!(!whole["arms"][4]["by_domain"].as_array().unwrap().is_empty());
    let refusals = |arm: usize| {
        whole["arms"][arm]["refusal_rate"]["value"]
            .as_f64()
            .unwrap()
    };
    assert!(refusals(1) > refusals(0) + 0.3, "alignment shows: {whole}");
    assert!(
        whole["synthesis"]["stages"].as_array().unwrap().len() >= 8,
        "{whole}"
    );

    let out = folder.path().join("killed");
    for file in [
        "harm_judge.json",
        "stages/evaluate-shipped.json",
        "replay/journal.jsonl",
        "stages/synthesise.json",
        "no_replay-seed-1/checkpoints",
        "gr_sap-seed-1/adapter_model.safetensors",
        "stages/gr_sap-seed-1.json",
    ] {
        kill_at(&out, file);
    }
    assert_eq!(finish(&out), whole);
    let log = log(&out);
    for stage in [
        "evaluate shipped",
        "evaluate aligned",
        "synthesise",
        "no_replay seed 1",
        "gr_sap seed 1",
    ] {
        assert!(log.contains(&format!("{stage}: finished before")), "{log}");
    }
    assert!(!log.contains("original seed 1: finished before"), "{log}");
}
