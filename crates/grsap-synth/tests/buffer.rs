//! A saved buffer that was damaged is refused, with the reason.

// Helpers outside of test functions may panic as well.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use grsap_data::{Dataset, Difficulty};
use grsap_synth::{
    BufferError, BufferInfo, Candidate, Rejected, ReplayBuffer, ReplayExample, StageReport,
};

fn example(id: usize, is_safe: bool, difficulty: Difficulty) -> ReplayExample {
    ReplayExample {
        id: id.to_string(),
        domain: "theft".into(),
        query: format!("a \"query\"\nnumber {id}"),
        response: "None".into(),
        difficulty,
        is_safe,
        is_revised: difficulty == Difficulty::Hard,
        // Not representable in a few digits: has to survive to the last bit.
        scores: BTreeMap::from([("dedup".into(), 1.0 / 3.0 + id as f64 * 1e-16)]),
    }
}

fn buffer() -> ReplayBuffer {
    let rejected = Rejected::new(
        "dedup",
        "duplicate",
        Some(0.9),
        Candidate::new("9", "d", "q"),
    );
    let stage = StageReport {
        name: "dedup".into(),
        kept: 4,
        rejected: 1,
        reasons: BTreeMap::from([("duplicate".into(), 1)]),
        counts: BTreeMap::new(),
        scores: None,
        other_scores: BTreeMap::new(),
        seconds: 1.5,
    };
    let info = BufferInfo {
        seed: 3,
        stages: vec![stage],
        ..Default::default()
    };
    let examples = vec![
        example(0, true, Difficulty::Easy),
        example(1, false, Difficulty::Hard),
        example(2, true, Difficulty::Hard),
        example(3, true, Difficulty::Easy),
    ];
    ReplayBuffer::new(examples, vec![rejected], info).unwrap()
}

fn saved() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    buffer().save(folder.path()).unwrap();
    folder
}

fn change(folder: &Path, file: &str, change: impl Fn(String) -> String) -> BufferError {
    let path = folder.join(file);
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    ReplayBuffer::load(folder).unwrap_err()
}

#[test]
fn a_round_trip_changes_nothing() {
    let folder = saved();
    let loaded = ReplayBuffer::load(folder.path()).unwrap();
    assert_eq!(loaded, buffer());
    assert_eq!(loaded.stages()[0].seconds, 1.5);
    assert_eq!(loaded.len(), 3);
    assert_eq!(loaded.get(1).unwrap().id.as_deref(), Some("2"));
    assert!(loaded.get(3).is_err());
    let manifest = loaded.manifest();
    assert_eq!(
        (manifest.num_rows, manifest.num_easy, manifest.num_hard),
        (4, 2, 1)
    );
    let text = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
    assert!(!text.contains("seconds"));
}

#[test]
fn audit_files_may_be_removed() {
    let folder = saved();
    fs::remove_file(folder.path().join("rejected.jsonl")).unwrap();
    fs::remove_file(folder.path().join("timings.json")).unwrap();
    let loaded = ReplayBuffer::load(folder.path()).unwrap();
    assert_eq!(loaded.examples(), buffer().examples());
    assert!(loaded.rejected().is_empty());
    // What is saved of it can be loaded again.
    let copy = tempfile::tempdir().unwrap();
    for folder in [folder.path(), copy.path()] {
        loaded.save(folder).unwrap();
        assert_eq!(
            ReplayBuffer::load(folder).unwrap().examples(),
            loaded.examples()
        );
        assert!(!folder.join("rejected.jsonl").exists());
    }
}

#[test]
fn damage_is_told_precisely() {
    let cut = |n: usize| move |text: String| text[..text.len() - n].to_owned();
    let error = change(saved().path(), "replay.jsonl", cut(1));
    assert!(
        matches!(
            error,
            BufferError::Truncated {
                expected: 4,
                got: 3,
                ..
            }
        ),
        "{error}"
    );
    let error = change(saved().path(), "replay.jsonl", |_| String::new());
    assert!(
        error
            .to_string()
            .contains("expected 4 rows, got 0 whole ones"),
        "{error}"
    );

    let error = change(saved().path(), "replay.jsonl", |text| {
        format!("{text}{text}")
    });
    assert!(
        matches!(error, BufferError::NumRows { got: 8, .. }),
        "{error}"
    );

    let error = change(saved().path(), "replay.jsonl", |text| {
        text.replacen("number 2", "number 7", 1)
    });
    let sha256 = buffer().manifest().sha256.clone();
    assert!(matches!(error, BufferError::Hash { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("expected SHA-256 {sha256}, got ")),
        "{error}"
    );

    let error = change(saved().path(), "replay.jsonl", |text| {
        text.replacen("\"2\"", "2", 1)
    });
    assert!(error.to_string().contains("replay.jsonl:3: "), "{error}");

    let error = change(saved().path(), "rejected.jsonl", |text| {
        text.replace("0.9", "0.8")
    });
    assert!(
        error
            .to_string()
            .contains("rejected.jsonl: expected SHA-256"),
        "{error}"
    );

    let error = change(saved().path(), "manifest.json", |text| {
        text.replace("\"format_version\": 2", "\"format_version\": 9")
    });
    assert!(
        error
            .to_string()
            .contains("format version 9 is not known, expected 2"),
        "{error}"
    );

    let error = change(saved().path(), "manifest.json", |text| {
        text.replace("\"num_hard\": 1", "\"num_hard\": 2")
    });
    assert!(
        error.to_string().contains("num_hard = 2, the rows say 1"),
        "{error}"
    );

    let error = change(saved().path(), "manifest.json", |text| {
        text.replace("\"seed\": 3", "\"seed\": 4")
    });
    assert!(matches!(error, BufferError::Checksum { .. }), "{error}");

    let error = change(saved().path(), "manifest.json", cut(20));
    assert!(matches!(error, BufferError::Manifest { .. }), "{error}");

    let folder = saved();
    fs::remove_file(folder.path().join("replay.jsonl")).unwrap();
    let error = ReplayBuffer::load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("replay.jsonl"), "{error}");
}

#[test]
fn a_safe_row_needs_text() {
    let mut blank = example(5, true, Difficulty::Easy);
    blank.response = " ".into();
    let error = ReplayBuffer::new(vec![blank.clone()], vec![], BufferInfo::default()).unwrap_err();
    assert_eq!(error.to_string(), "example 5: the response is blank");
    blank.is_safe = false;
    assert!(ReplayBuffer::new(vec![blank], vec![], BufferInfo::default()).is_ok());
}
