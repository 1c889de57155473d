use serde::{Deserialize, Serialize};

use super::FilterError;
use super::traits::in_range;
use crate::quantile;

/// The least score that is kept.
///
/// A fixed cosine means something else for each embedder; a quantile keeps the same share of the
/// candidates with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// This score.
    Value(f64),
    /// The score below which this share of the candidates lies, in [0, 1].
    Quantile(f64),
}

impl Threshold {
    pub(super) fn check(self, field: &'static str) -> Result<(), FilterError> {
        match self {
            Self::Value(value) => in_range(field, value, (-1.0, 1.0), "in [-1, 1]"),
            Self::Quantile(q) => in_range(field, q, (0.0, 1.0), "in [0, 1]"),
        }
    }

    /// The least score to keep among `scores`.
    pub(super) fn least(self, scores: &[f64]) -> f64 {
        match self {
            Self::Value(value) => value,
            Self::Quantile(q) => {
                let mut sorted = scores.to_vec();
                sorted.sort_by(f64::total_cmp);
                quantile(&sorted, q).unwrap_or(f64::NEG_INFINITY)
            }
        }
    }
}
