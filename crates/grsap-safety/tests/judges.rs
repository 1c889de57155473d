//! Calibration, confusion and agreement against scikit-learn.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_safety::{Confusion, PlattScaling, cohen_kappa};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    calibrations: Vec<Calibration>,
    kappas: Vec<Kappa>,
}

#[derive(Deserialize)]
struct Calibration {
    scores: Vec<f64>,
    labels: Vec<bool>,
    sklearn_slope: f64,
    sklearn_intercept: f64,
    slope: f64,
    intercept: f64,
    brier: f64,
    confusion: Confusion,
}

#[derive(Deserialize)]
struct Kappa {
    a: Vec<u32>,
    b: Vec<u32>,
    kappa: f64,
}

fn fixture() -> Fixture {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/judges/judges.json");
    let fixture: Fixture = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!((fixture.calibrations.len(), fixture.kappas.len()), (3, 4));
    fixture
}

#[test]
fn calibrations_agree() {
    for case in fixture().calibrations {
        let platt = PlattScaling::fit(&case.scores, &case.labels).unwrap();
        assert!((platt.slope - case.slope).abs() < 1e-6, "{platt:?}");
        assert!((platt.intercept - case.intercept).abs() < 1e-6, "{platt:?}");
        // scikit-learn's own answer stops short of the optimum.
        assert!((platt.slope - case.sklearn_slope).abs() < 1e-4, "{platt:?}");
        assert!(
            (platt.intercept - case.sklearn_intercept).abs() < 1e-4,
            "{platt:?}"
        );

        let probabilities: Vec<f64> = case.scores.iter().map(|s| platt.probability(*s)).collect();
        let pairs = || probabilities.iter().zip(&case.labels);
        let brier = pairs()
            .map(|(p, label)| (p - f64::from(u8::from(*label))).powi(2))
            .sum::<f64>()
            / case.labels.len() as f64;
        assert!((brier - case.brier).abs() < 1e-8);
        let confusion = Confusion::count(pairs().map(|(p, label)| (*p >= 0.5, *label)));
        assert_eq!(confusion, case.confusion);
    }
}

#[test]
fn kappas_agree() {
    for case in fixture().kappas {
        let kappa = cohen_kappa(&case.a, &case.b).unwrap();
        assert!((kappa - case.kappa).abs() < 1e-12, "{kappa} {}", case.kappa);
    }
}
