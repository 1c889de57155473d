//! Holm's correction, power and changes of paired proportions against statsmodels, scipy and their
//! definitions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_safety::{
    IntervalMethod, NonInferiority, Score, Study, UnparsedPolicy, Worse, holm, paired_change,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    holm: Vec<Holm>,
    unpaired: Vec<Unpaired>,
    unpaired_numbers: Vec<UnpairedNumber>,
    paired: Vec<Paired>,
    non_inferiority: Vec<Margin>,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Holm {
    p_values: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct Unpaired {
    first: f64,
    second: f64,
    num: usize,
    level: f64,
    power: f64,
}

#[derive(Deserialize)]
struct UnpairedNumber {
    first: f64,
    second: f64,
    power: f64,
    level: f64,
    num: usize,
}

#[derive(Deserialize)]
struct Paired {
    only_first: f64,
    only_second: f64,
    num: usize,
    level: f64,
    power: f64,
}

#[derive(Deserialize)]
struct Margin {
    only_first: f64,
    only_second: f64,
    margin: f64,
    num: usize,
    level: f64,
    power: f64,
}

#[derive(Deserialize)]
struct Change {
    only_first: usize,
    only_second: usize,
    num: usize,
    low: f64,
    high: f64,
    margins: Vec<f64>,
    p_higher: Vec<f64>,
    p_lower: Vec<f64>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/comparisons/comparisons.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn corrections_agree() {
    let cases = fixture().holm;
    assert_eq!(cases.len(), 5);
    for case in cases {
        for (got, expected) in holm(&case.p_values).unwrap().iter().zip(&case.adjusted) {
            assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        }
    }
}

#[test]
fn powers_agree() {
    let Fixture {
        unpaired,
        paired,
        non_inferiority,
        ..
    } = fixture();
    assert!(unpaired.len() >= 5 && paired.len() >= 5 && non_inferiority.len() >= 4);
    let mut cases = Vec::new();
    for Unpaired {
        first,
        second,
        num,
        level,
        power,
    } in unpaired
    {
        cases.push((Study::Unpaired { first, second }, num, level, power));
    }
    for Paired {
        only_first,
        only_second,
        num,
        level,
        power,
    } in paired
    {
        let study = Study::Paired {
            only_first,
            only_second,
        };
        cases.push((study, num, level, power));
    }
    for Margin {
        only_first,
        only_second,
        margin,
        num,
        level,
        power,
    } in non_inferiority
    {
        let study = Study::NonInferiority {
            only_first,
            only_second,
            margin,
        };
        cases.push((study, num, level, power));
    }
    for (study, num, level, power) in cases {
        let got = study.power(num, level).unwrap();
        assert!((got - power).abs() < 1e-9, "{study:?}: {got} {power}");
    }
}

#[test]
fn numbers_of_prompts_agree() {
    let cases = fixture().unpaired_numbers;
    assert_eq!(cases.len(), 6);
    for UnpairedNumber {
        first,
        second,
        power,
        level,
        num,
    } in cases
    {
        let study = Study::Unpaired { first, second };
        assert_eq!(study.num_prompts(power, level).unwrap(), num, "{study:?}");
    }
}

#[test]
fn changes_and_their_tests_agree() {
    let cases = fixture().changes;
    assert!(cases.len() >= 8);
    for case in cases {
        let neither = case.num - case.only_first - case.only_second;
        let list = |of_first: bool, of_second: bool| -> Vec<Score> {
            let parts = [
                vec![Score::binary(of_first); case.only_first],
                vec![Score::binary(of_second); case.only_second],
                vec![Score::binary(false); neither],
            ];
            parts.concat()
        };
        let (first, second) = (list(true, false), list(false, true));
        let (policy, method) = (UnparsedPolicy::Exclude, IntervalMethod::Wilson);
        let change = paired_change(&first, &second, policy, &method).unwrap();
        let (low, high) = change.interval.unwrap();
        let place = format!("{} {} {}", case.only_first, case.only_second, case.num);
        assert!((low - case.low).abs() < 1e-6, "{place}: {low} {}", case.low);
        assert!(
            (high - case.high).abs() < 1e-6,
            "{place}: {high} {}",
            case.high
        );
        for (at, margin) in case.margins.iter().enumerate() {
            for (worse, expected) in [
                (Worse::Higher, case.p_higher[at]),
                (Worse::Lower, case.p_lower[at]),
            ] {
                let test =
                    NonInferiority::new(&first, &second, *margin, worse, policy, &method).unwrap();
                let got = test.p_value.unwrap();
                assert!((got - expected).abs() < 1e-6, "{place}: {got} {expected}");
            }
        }
    }
}
