//! The classifier and the area under the curve against scikit-learn.

use std::error::Error;
use std::fs;
use std::path::Path;

use grsap_safety::{LogisticConfig, LogisticRegression, auc};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    c: f64,
    balanced: bool,
    dim: usize,
    features: Vec<f64>,
    labels: Vec<bool>,
    weights: Vec<f64>,
    intercept: f64,
    probabilities: Vec<f64>,
    auc: f64,
    rounded: Vec<f64>,
    auc_of_rounded: f64,
}

fn cases() -> Result<Vec<Case>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/logistic_regression/logistic_regression.json");
    let fixture: Fixture = serde_json::from_slice(&fs::read(path)?)?;
    assert_eq!(fixture.cases.len(), 8);
    Ok(fixture.cases)
}

#[test]
fn fits_agree() {
    for case in cases().unwrap() {
        let config = LogisticConfig {
            c: case.c,
            balanced: case.balanced,
            ..LogisticConfig::default()
        };
        let model =
            LogisticRegression::fit(&case.features, case.dim, &case.labels, &config).unwrap();
        let place = format!("c {} balanced {} dim {}", case.c, case.balanced, case.dim);
        assert_eq!(model.weights.len(), case.weights.len());
        for (got, expected) in model.weights.iter().zip(&case.weights) {
            assert!((got - expected).abs() < 1e-6, "{place}: {got} {expected}");
        }
        assert!((model.intercept - case.intercept).abs() < 1e-6, "{place}");
        for (row, expected) in case
            .features
            .chunks_exact(case.dim)
            .zip(&case.probabilities)
        {
            assert!((model.probability(row) - expected).abs() < 1e-6, "{place}");
        }
        let again =
            LogisticRegression::fit(&case.features, case.dim, &case.labels, &config).unwrap();
        assert_eq!(again, model, "the same data give the same bits");
    }
}

#[test]
fn areas_agree_with_and_without_ties() {
    for case in cases().unwrap() {
        let area = auc(&case.probabilities, &case.labels).unwrap();
        assert!((area - case.auc).abs() < 1e-12);
        let area = auc(&case.rounded, &case.labels).unwrap();
        assert!((area - case.auc_of_rounded).abs() < 1e-12);
    }
}
