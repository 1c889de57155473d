use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quantile;

/// What a stage did, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// Candidates that went on.
    pub kept: usize,
    /// Candidates that were dropped.
    pub rejected: usize,
    /// How many were dropped for each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Whatever else was counted: "unparsed", "num_tokens".
    pub counts: BTreeMap<String, usize>,
    /// The distribution of what was measured, dropped candidates included.
    pub scores: Option<ScoreSummary>,
    /// Wall time. It is kept out of the serialised form, which is the same for the same seed.
    #[serde(skip)]
    pub seconds: f64,
}

/// The distribution of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ScoreSummary {
    /// Finite scores; the others below are over these.
    pub num_scored: usize,
    pub mean: f64,
    pub min: f64,
    pub p05: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p95: f64,
    pub max: f64,
}

impl ScoreSummary {
    /// Sums up the finite `scores`; `None` when there are none.
    pub fn new(mut scores: Vec<f64>) -> Option<Self> {
        scores.retain(|score| score.is_finite());
        scores.sort_by(f64::total_cmp);
        let at = |q| quantile(&scores, q);
        // A running mean does not overflow where the sum of large perplexities would.
        let mean = scores
            .iter()
            .zip(1u32..)
            .fold(0.0, |mean, (score, n)| mean + (score - mean) / f64::from(n));
        Some(Self {
            num_scored: scores.len(),
            mean,
            min: at(0.0)?,
            p05: at(0.05)?,
            p25: at(0.25)?,
            median: at(0.5)?,
            p75: at(0.75)?,
            p95: at(0.95)?,
            max: at(1.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_finite_scores() {
        let scores = vec![3.0, f64::NAN, 1.0, 2.0, f64::INFINITY, 4.0];
        let summary = ScoreSummary::new(scores).unwrap();
        assert_eq!(summary.num_scored, 4);
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 2.5, 4.0));
        assert_eq!(summary.mean, 2.5);
        assert_eq!(ScoreSummary::new(vec![f64::NAN]), None);
        assert_eq!(ScoreSummary::new(vec![]), None);
        let huge = ScoreSummary::new(vec![f64::MAX, f64::MAX]).unwrap();
        assert_eq!(huge.mean, f64::MAX);
    }
}
