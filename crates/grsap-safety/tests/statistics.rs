//! Intervals and tests against statsmodels and scipy.

use std::error::Error;
use std::fs;
use std::path::Path;

use grsap_safety::{McNemar, Score, wilson_interval};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    wilson: Vec<Wilson>,
    mcnemar: Vec<Test>,
}

#[derive(Deserialize)]
struct Wilson {
    successes: usize,
    trials: usize,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Test {
    both: usize,
    only_first: usize,
    only_second: usize,
    neither: usize,
    mcnemar: f64,
    binomial: f64,
}

fn fixture() -> Result<Fixture, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/statistics/statistics.json");
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[test]
fn wilson_intervals_agree() {
    let cases = fixture().unwrap().wilson;
    assert!(cases.len() >= 10);
    for case in cases {
        let (low, high) = wilson_interval(case.successes, case.trials).unwrap();
        let place = format!("{} of {}", case.successes, case.trials);
        assert!(
            (low - case.low).abs() < 1e-12,
            "{place}: {low} {}",
            case.low
        );
        assert!(
            (high - case.high).abs() < 1e-12,
            "{place}: {high} {}",
            case.high
        );
    }
}

#[test]
fn exact_tests_agree() {
    let cases = fixture().unwrap().mcnemar;
    assert!(cases.len() >= 8);
    for case in cases {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (count, a, b) in [
            (case.both, true, true),
            (case.only_first, true, false),
            (case.only_second, false, true),
            (case.neither, false, false),
        ] {
            first.extend(vec![Score::binary(a); count]);
            second.extend(vec![Score::binary(b); count]);
        }
        let test = McNemar::new(&first, &second).unwrap();
        assert_eq!((test.both, test.neither), (case.both, case.neither));
        for expected in [case.mcnemar, case.binomial] {
            let error = (test.p_value - expected).abs() / expected;
            assert!(
                error < 1e-10,
                "{} / {}: {} {expected}",
                case.only_first,
                case.only_second,
                test.p_value
            );
        }
    }
}
