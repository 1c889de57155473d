use grsap_core::Perplexity;
use serde::{Deserialize, Serialize};

use super::traits::in_range;
use super::{Filter, FilterError};
use crate::{Candidate, Filtered, Rejected, quantile};

const NAME: &str = "perplexity";

/// Settings of [`PerplexityBand`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerplexityBandConfig {
    /// The lower end of the band, as a quantile.
    pub lower_quantile: f64,
    /// The upper end.
    pub upper_quantile: f64,
}

impl Default for PerplexityBandConfig {
    /// GR-SAP, stage 2: from the 5th to the 95th percentile.
    fn default() -> Self {
        Self {
            lower_quantile: 0.05,
            upper_quantile: 0.95,
        }
    }
}

impl PerplexityBandConfig {
    pub(crate) fn check(&self) -> Result<(), FilterError> {
        let (lower, upper) = (self.lower_quantile, self.upper_quantile);
        in_range("lower_quantile", lower, (0.0, 1.0), "in [0, 1]")?;
        in_range(
            "upper_quantile",
            upper,
            (lower, 1.0),
            "in [lower_quantile, 1]",
        )
    }
}

/// Keeps queries whose perplexity lies in the middle of the distribution: what is too likely is
/// stock phrases, what is too unlikely is noise.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockPerplexity;
/// use grsap_synth::{Candidate, Filter, PerplexityBand, PerplexityBandConfig};
///
/// // The mock's perplexity is the length of the text.
/// let candidates = (0..5).map(|i| Candidate::new(i.to_string(), "d", "x".repeat(i + 1))).collect();
/// let config = PerplexityBandConfig { lower_quantile: 0.2, upper_quantile: 0.8 };
/// let filtered = PerplexityBand::new(MockPerplexity, config)?.apply(candidates)?;
/// assert_eq!(filtered.kept.len(), 3);
/// assert_eq!(filtered.rejected[0].reason, "perplexity_low");
/// # Ok::<(), grsap_synth::FilterError>(())
/// ```
pub struct PerplexityBand<P> {
    model: P,
    config: PerplexityBandConfig,
}

impl<P: Perplexity> PerplexityBand<P> {
    /// A filter that measures with `model`.
    ///
    /// # Errors
    ///
    /// [`FilterError::Config`] when the quantiles are not in [0, 1] and in order.
    pub fn new(model: P, config: PerplexityBandConfig) -> Result<Self, FilterError> {
        config.check()?;
        Ok(Self { model, config })
    }
}

impl<P: Perplexity> Filter for PerplexityBand<P> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        if candidates.is_empty() {
            return Ok(Filtered::default());
        }
        let texts: Vec<&str> = candidates.iter().map(|c| c.query.as_str()).collect();
        let scores = self.model.perplexity(&texts)?;
        if scores.len() != texts.len() {
            return Err(FilterError::Length {
                what: "perplexities",
                expected: texts.len(),
                got: scores.len(),
            });
        }
        let mut sorted: Vec<f64> = scores.iter().copied().filter(|s| s.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let bound = |q, otherwise| quantile(&sorted, q).unwrap_or(otherwise);
        let low = bound(self.config.lower_quantile, f64::INFINITY);
        let high = bound(self.config.upper_quantile, f64::NEG_INFINITY);

        let mut filtered = Filtered::default();
        for (mut candidate, score) in candidates.into_iter().zip(scores) {
            let reason = match score {
                score if !score.is_finite() => "perplexity_not_finite",
                score if score < low => "perplexity_low",
                score if score > high => "perplexity_high",
                score => {
                    candidate.scores.insert(NAME.to_owned(), score);
                    filtered.kept.push(candidate);
                    continue;
                }
            };
            let rejected = Rejected::new(NAME, reason, Some(score), candidate);
            filtered.rejected.push(rejected);
        }
        Ok(filtered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::ModelError;

    struct Fixed(Vec<f64>);

    impl Perplexity for Fixed {
        fn perplexity(&self, _: &[&str]) -> Result<Vec<f64>, ModelError> {
            Ok(self.0.clone())
        }
    }

    fn candidates(n: usize) -> Vec<Candidate> {
        (0..n)
            .map(|i| Candidate::new(i.to_string(), "d", "q"))
            .collect()
    }

    fn apply(scores: Vec<f64>, n: usize) -> Result<Filtered, FilterError> {
        PerplexityBand::new(Fixed(scores), PerplexityBandConfig::default())?.apply(candidates(n))
    }

    #[test]
    fn the_band_is_inclusive_and_linear() {
        // numpy: the 5th and 95th percentiles of 0..=20 are 1 and 19.
        let out = apply((0..=20).map(f64::from).collect(), 21).unwrap();
        let kept: Vec<f64> = out.kept.iter().map(|c| c.scores["perplexity"]).collect();
        assert_eq!(kept, (1..=19).map(f64::from).collect::<Vec<_>>());
        assert_eq!(out.rejected[1].reason, "perplexity_high");
        assert_eq!(out.report("perplexity").scores.unwrap().max, 20.0);
    }

    #[test]
    fn what_is_not_finite_is_dropped_and_does_not_move_the_band() {
        let out = apply(vec![f64::INFINITY, 2.0, f64::NAN, 2.0], 4).unwrap();
        assert_eq!(out.kept.len(), 2);
        for rejected in &out.rejected {
            assert_eq!(rejected.reason, "perplexity_not_finite");
            assert_eq!(rejected.score, None);
        }
        assert_eq!(apply(vec![f64::NAN; 3], 3).unwrap().rejected.len(), 3);
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(matches!(
            apply(vec![1.0], 2),
            Err(FilterError::Length { .. })
        ));
        assert_eq!(apply(vec![], 0).unwrap(), Filtered::default());
        for (lower, upper) in [(0.9, 0.1), (-0.1, 0.5), (0.5, 1.1), (f64::NAN, 1.0)] {
            let config = PerplexityBandConfig {
                lower_quantile: lower,
                upper_quantile: upper,
            };
            assert!(PerplexityBand::new(Fixed(vec![]), config).is_err());
        }
    }
}
