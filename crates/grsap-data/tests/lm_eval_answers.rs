//! Answers to GSM8K and MATH as lm-evaluation-harness sees them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_data::{
    Gsm8k, Gsm8kExtraction, TaskFormat, TaskRow, last_boxed, math_answers_equal,
    normalise_math_answer,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    gsm8k: Vec<WordProblem>,
    normal: Vec<Normal>,
    equal: Vec<Equal>,
    boxed: Vec<Boxed>,
}

#[derive(Deserialize)]
struct WordProblem {
    gold: String,
    answer: String,
    #[serde(rename = "strict-match")]
    strict_match: bool,
    #[serde(rename = "flexible-extract")]
    flexible_extract: bool,
}

#[derive(Deserialize)]
struct Normal {
    text: String,
    normal: Option<String>,
}

#[derive(Deserialize)]
struct Equal {
    a: String,
    b: String,
    equal: bool,
}

#[derive(Deserialize)]
struct Boxed {
    text: String,
    boxed: Option<String>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/lm_eval_answers/lm_eval_answers.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn word_problems_are_scored_alike() {
    let cases = fixture().gsm8k;
    assert_eq!(cases.len(), 300);
    let format = |extraction| Gsm8k {
        extraction,
        ..Gsm8k::default()
    };
    let strict = format(Gsm8kExtraction::StrictMatch);
    let flexible = format(Gsm8kExtraction::FlexibleExtract);
    for case in &cases {
        let row = TaskRow::new("?", &case.gold);
        // What is not found is wrong there.
        let is_right = |format: &Gsm8k| format.score(&row, &case.answer).unwrap_or(false);
        let place = format!("{:?} for {:?}", case.answer, case.gold);
        assert_eq!(is_right(&strict), case.strict_match, "strict: {place}");
        assert_eq!(
            is_right(&flexible),
            case.flexible_extract,
            "flexible: {place}"
        );
        // The lenient way accepts all that the strict one does.
        assert!(is_right(&Gsm8k::default()) || !case.strict_match, "{place}");
    }
    assert!(cases.iter().any(|case| case.strict_match));
}

#[test]
fn math_answers_have_the_same_normal_form() {
    for case in fixture().normal {
        assert_eq!(
            normalise_math_answer(&case.text),
            case.normal,
            "{:?}",
            case.text
        );
    }
}

#[test]
fn math_answers_are_equal_alike() {
    let cases = fixture().equal;
    assert!(cases.iter().filter(|case| case.equal).count() > 50);
    assert!(cases.iter().filter(|case| !case.equal).count() > 50);
    for Equal { a, b, equal } in cases {
        assert_eq!(math_answers_equal(&a, &b), equal, "{a:?} {b:?}");
        assert_eq!(math_answers_equal(&b, &a), equal, "{b:?} {a:?}");
    }
}

#[test]
fn boxes_are_found_alike() {
    for case in fixture().boxed {
        assert_eq!(
            last_boxed(&case.text),
            case.boxed.as_deref(),
            "{:?}",
            case.text
        );
    }
}
