use serde::{Deserialize, Serialize};

use crate::MetricError;

/// How MAUVE is computed. The defaults are those of mauve-text, but for the scaling factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MauveConfig {
    /// Clusters. `None`: a tenth of the smaller set, at least 2.
    pub num_buckets: Option<usize>,
    /// The share of the variance that the principal components must explain, within (0, 1).
    pub explained_variance: f64,
    /// How often k-means starts anew; the best run counts.
    pub num_redo: usize,
    /// The most iterations of one run.
    pub max_iter: usize,
    /// Mixtures of the two sets, that is, points on the divergence curve without its ends.
    pub num_mixtures: usize,
    /// The `c` in `exp(-c KL)`: the larger, the stricter. GR-SAP has 2; mauve-text's default is 5.
    pub scaling_factor: f64,
    /// Fixes the starts of k-means: the clusters are those of mauve-text with this seed.
    pub seed: u64,
}

impl Default for MauveConfig {
    fn default() -> Self {
        Self {
            num_buckets: None,
            explained_variance: 0.9,
            num_redo: 5,
            max_iter: 500,
            num_mixtures: 25,
            scaling_factor: 2.0,
            seed: 25,
        }
    }
}

impl MauveConfig {
    pub(crate) fn check(&self) -> Result<(), MetricError> {
        let config = |field, expected, got: String| {
            Err(MetricError::Config {
                field,
                expected,
                got,
            })
        };
        if !(self.explained_variance > 0.0 && self.explained_variance < 1.0) {
            let got = self.explained_variance.to_string();
            return config("explained_variance", "between 0 and 1", got);
        }
        if !(self.scaling_factor > 0.0 && self.scaling_factor.is_finite()) {
            let got = self.scaling_factor.to_string();
            return config("scaling_factor", "a number above 0", got);
        }
        let counts = [
            ("num_redo", self.num_redo, 1, "at least 1"),
            ("max_iter", self.max_iter, 1, "at least 1"),
            ("num_mixtures", self.num_mixtures, 2, "at least 2"),
            (
                "num_buckets",
                self.num_buckets.unwrap_or(2),
                2,
                "at least 2",
            ),
        ];
        match counts.into_iter().find(|(_, got, least, _)| got < least) {
            Some((field, got, _, expected)) => config(field, expected, got.to_string()),
            None => Ok(()),
        }
    }

    /// Clusters for two sets of these sizes.
    pub(crate) fn buckets_for(&self, num_p: usize, num_q: usize) -> Result<usize, MetricError> {
        let tenth = (num_p.min(num_q) as f64 / 10.0).round_ties_even() as usize;
        let num_buckets = self.num_buckets.unwrap_or(tenth.max(2));
        if num_buckets > num_p + num_q {
            return Err(MetricError::Config {
                field: "num_buckets",
                expected: "at most the number of rows of both sets",
                got: format!("{num_buckets} for {} rows", num_p + num_q),
            });
        }
        Ok(num_buckets)
    }
}
