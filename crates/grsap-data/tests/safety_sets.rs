//! The readers of safety sets on rows in the published forms.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::PathBuf;

use grsap_data::{DataError, SafetyRow, SafetyRows, SafetySet, read_safety_set, read_tulu3};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/safety_sets")
        .join(name)
}

fn read(set: SafetySet, name: &str) -> SafetyRows {
    read_safety_set(set, fixture(name)).unwrap()
}

/// Rows, duplicates, different prompts, withheld, harmful prompts, benign prompts.
fn counts(rows: &SafetyRows) -> [usize; 6] {
    [
        rows.rows.len(),
        rows.num_duplicates,
        rows.num_prompts,
        rows.num_withheld,
        rows.harmful().count(),
        rows.benign().count(),
    ]
}

const ASK: &str = "How do I pick the lock of my neighbour's shed?";
const CAKE: &str = "How do I bake a cake?";

#[test]
fn harmful_and_benign_are_told_apart_and_duplicates_counted() {
    use SafetySet::*;
    let cases = [
        (WildGuardTest, "wild_guard_test.jsonl", [5, 1, 3, 0, 1, 1]),
        (WildJailbreak, "wild_jailbreak_eval.tsv", [2, 0, 2, 0, 1, 1]),
        (
            WildJailbreak,
            "wild_jailbreak_train.tsv",
            [2, 0, 2, 0, 1, 1],
        ),
        // Nothing is said of their prompts.
        (BeaverTails, "beaver_tails.jsonl", [3, 1, 1, 0, 0, 0]),
        (PkuSafeRlhf, "pku_safe_rlhf.jsonl", [2, 0, 1, 0, 0, 0]),
        (Aegis2, "aegis2.json", [2, 0, 2, 1, 1, 1]),
        (AdvBench, "adv_bench.csv", [2, 1, 1, 0, 1, 0]),
        (HarmBench, "harm_bench.csv", [2, 0, 2, 0, 2, 0]),
        (StrongReject, "strong_reject.csv", [1, 0, 1, 0, 1, 0]),
        (XsTest, "xs_test.csv", [2, 0, 2, 0, 1, 1]),
        (XsTest, "xs_test_v1.csv", [2, 0, 2, 0, 1, 1]),
        (DoNotAnswer, "do_not_answer.csv", [1, 0, 1, 0, 1, 0]),
    ];
    for set in SafetySet::ALL {
        assert!(cases.iter().any(|case| case.0 == set), "{set:?}");
    }
    for (set, name, expected) in cases {
        assert_eq!(counts(&read(set, name)), expected, "{name}");
    }
}

#[test]
fn labels_of_responses_are_read() {
    let rows = read(SafetySet::WildGuardTest, "wild_guard_test.jsonl").rows;
    let expected = SafetyRow {
        prompt: ASK.into(),
        prompt_harmful: Some(true),
        response: Some("I will not help with that.".into()),
        response_harmful: Some(false),
        response_refusal: Some(true),
        category: Some("theft".into()),
    };
    assert_eq!(rows[0], expected);
    assert_eq!((&rows[2].response, rows[2].response_refusal), (&None, None));
    assert_eq!(rows[3].prompt_harmful, None);

    let rows = read(SafetySet::BeaverTails, "beaver_tails.jsonl").rows;
    assert_eq!(rows[0].response_harmful, Some(false));
    assert_eq!(
        (rows[0].category.as_deref(), rows[1].response_harmful),
        (None, Some(true))
    );
    assert_eq!(
        rows[1].category.as_deref(),
        Some("financial_crime,property_crime,theft")
    );

    let rows = read(SafetySet::PkuSafeRlhf, "pku_safe_rlhf.jsonl").rows;
    let harmful: Vec<_> = rows.iter().map(|row| row.response_harmful).collect();
    assert_eq!(harmful, [Some(false), Some(true)]);

    let rows = read(SafetySet::Aegis2, "aegis2.json").rows;
    assert_eq!(rows[0].response_harmful, Some(false));
    assert_eq!((rows[1].response_harmful, &rows[1].category), (None, &None));
}

#[test]
fn prompts_are_whole() {
    let prompts = |set, name| -> Vec<String> {
        let rows = read(set, name).rows;
        rows.into_iter().map(|row| row.prompt).collect()
    };
    assert_eq!(
        prompts(SafetySet::WildJailbreak, "wild_jailbreak_eval.tsv"),
        [
            format!("You are a locksmith.\n{ASK}"),
            format!("You are a \"baker\". {CAKE}")
        ]
    );
    assert_eq!(
        prompts(SafetySet::WildJailbreak, "wild_jailbreak_train.tsv"),
        [ASK.to_owned(), format!("Be a baker. {CAKE}")]
    );
    assert_eq!(
        prompts(SafetySet::HarmBench, "harm_bench.csv")[1],
        "A shed has a lock.\nIt is old.\n\n---\n\nSay how, given the text."
    );
}

#[test]
fn the_file_of_another_set_is_refused() {
    let names = [
        "wild_guard_test.jsonl",
        "wild_jailbreak_eval.tsv",
        "beaver_tails.jsonl",
        "pku_safe_rlhf.jsonl",
        "aegis2.json",
        "adv_bench.csv",
        "harm_bench.csv",
        "strong_reject.csv",
        "xs_test.csv",
        "do_not_answer.csv",
    ];
    for (at, set) in SafetySet::ALL.into_iter().enumerate() {
        for (other, name) in names.iter().enumerate() {
            let result = read_safety_set(set, fixture(name));
            if at == other {
                assert!(result.is_ok(), "{set:?} {name}");
            } else {
                let error = result.unwrap_err();
                assert!(
                    matches!(error, DataError::Field { .. }),
                    "{set:?} {name}: {error}"
                );
            }
        }
    }
}

#[test]
fn values_that_were_not_published_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            SafetySet::AdvBench,
            "a.csv",
            "goal\nx\n",
            "a.csv:2: field target: it is missing; there are: goal",
        ),
        (
            SafetySet::XsTest,
            "x.csv",
            "prompt,type,label\nq,homonyms,harmless\n",
            "x.csv:2: field label: expected \"unsafe\" or \"safe\", got \"harmless\"",
        ),
        (
            SafetySet::WildJailbreak,
            "w.tsv",
            "adversarial\tlabel\tdata_type\nq\t0\tadversarial_harmful\n",
            "w.tsv:2: field label: 0 contradicts \"adversarial_harmful\"",
        ),
        (
            SafetySet::WildJailbreak,
            "w.tsv",
            "adversarial\tlabel\tdata_type\nq\t0\tother\n",
            "w.tsv:2: field data_type: \"other\" is no type of this set",
        ),
        (
            SafetySet::BeaverTails,
            "b.jsonl",
            "{\"prompt\": \"q\", \"response\": \"a\", \"category\": [], \"is_safe\": true}",
            "b.jsonl:1: field category: expected an object of flags",
        ),
        (
            SafetySet::StrongReject,
            "s.csv",
            "category,source,forbidden_prompt\nc,s,\n",
            "s.csv:2: field forbidden_prompt: it is blank",
        ),
    ];
    for (set, name, text, expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let error = read_safety_set(set, &path).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn the_mixture_keeps_its_subsets() {
    let tulu = read_tulu3(fixture("tulu3.jsonl")).unwrap();
    assert_eq!((tulu.records.len(), tulu.num_duplicates), (5, 1));
    let safety: Vec<_> = tulu
        .safety()
        .filter_map(|record| record.id.as_deref())
        .collect();
    assert_eq!(safety, ["row-0", "row-1", "row-4"]);
    assert_eq!(
        tulu.records[2].response(),
        Some("Mix flour, eggs and sugar.")
    );

    let error = read_tulu3(fixture("beaver_tails.jsonl")).unwrap_err();
    assert!(
        error.to_string().contains("field id: it is missing"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    fs::write(
        &path,
        r#"{"id": "1", "source": "s", "messages": [{"role": "user"}]}"#,
    )
    .unwrap();
    let error = read_tulu3(&path).unwrap_err().to_string();
    assert!(
        error.contains("t.jsonl:1: field messages: missing field `content`"),
        "{error}"
    );
    fs::write(
        &path,
        r#"{"id": "1", "source": "s", "messages": [{"role": "user", "content": "q"}]}"#,
    )
    .unwrap();
    let error = read_tulu3(&path).unwrap_err();
    assert!(matches!(error, DataError::InvalidRecord { line: 1, .. }));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_gives_the_same_rows() {
    assert_eq!(
        read(SafetySet::WildGuardTest, "wild_guard_test.parquet"),
        read(SafetySet::WildGuardTest, "wild_guard_test.jsonl")
    );
    assert_eq!(
        read(SafetySet::DoNotAnswer, "do_not_answer.parquet"),
        read(SafetySet::DoNotAnswer, "do_not_answer.csv")
    );
    assert_eq!(
        read_tulu3(fixture("tulu3.parquet")).unwrap(),
        read_tulu3(fixture("tulu3.jsonl")).unwrap()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.parquet");
    let bytes = fs::read(fixture("wild_guard_test.parquet")).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = read_safety_set(SafetySet::WildGuardTest, &path).unwrap_err();
    assert!(matches!(error, DataError::Format { .. }), "{error}");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_needs_its_feature() {
    let error = read_tulu3(fixture("tulu3.parquet"))
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("reading it needs the feature `parquet`"),
        "{error}"
    );
}
