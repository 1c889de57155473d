use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::wilson::wilson;
use crate::{BootstrapConfig, MetricError, Score, UnparsedPolicy, bootstrap, wilson_interval};

/// A metric with its 95% interval and the number of samples behind it.
///
/// In JSON: `{"value", "low", "high", "num_scored", "num_unscored"}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "EstimateFile", into = "EstimateFile")]
pub struct Estimate {
    /// The metric; `None` where no sample could be scored. It is never 0 of 0.
    pub value: Option<f64>,
    /// Its 95% interval; `None` where there is no value or too little to tell a spread.
    pub interval: Option<(f64, f64)>,
    /// Samples that were scored.
    pub num_scored: usize,
    /// Samples that could not be scored, whatever the policy made of them.
    pub num_unscored: usize,
}

/// How an interval is found.
#[derive(Debug, Clone, PartialEq)]
pub enum IntervalMethod<'a> {
    /// Wilson's, for proportions of independent samples.
    Wilson,
    /// The bootstrap over samples, for means of independent measurements. A proportion's interval also
    /// covers Wilson's.
    Bootstrap(BootstrapConfig),
    /// The bootstrap over clusters, for samples that are not independent.
    ///
    /// Where few clusters have an event there is little to resample, and the bootstrap alone would be
    /// far too sure. So a proportion's interval also covers Wilson's, with as many trials as there are
    /// clusters.
    ClusterBootstrap {
        /// The cluster of each sample, in the samples' order.
        clusters: &'a [usize],
        /// How it resamples.
        config: BootstrapConfig,
    },
}

impl Estimate {
    /// A metric that was not measured.
    pub const UNMEASURED: Self = Self {
        value: None,
        interval: None,
        num_scored: 0,
        num_unscored: 0,
    };

    /// The proportion of 1 among scores of 0 and 1.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for no samples, a score other than 0 and 1, or a cluster list of another
    /// length. Samples that are all unscored are no error: the value is `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_safety::{Estimate, IntervalMethod, Score, UnparsedPolicy};
    ///
    /// let scores = [Score::binary(true), Score::binary(false), Score::UNSCORED];
    /// let rate = Estimate::proportion(&scores, UnparsedPolicy::Exclude, &IntervalMethod::Wilson)?;
    /// assert_eq!((rate.value, rate.num_scored, rate.num_unscored), (Some(0.5), 2, 1));
    /// # Ok::<(), grsap_safety::MetricError>(())
    /// ```
    pub fn proportion(
        scores: &[Score],
        policy: UnparsedPolicy,
        method: &IntervalMethod<'_>,
    ) -> Result<Self, MetricError> {
        for (index, score) in scores.iter().enumerate() {
            if let Some(value) = score.value
                && value != 0.0
                && value != 1.0
            {
                return Err(MetricError::NotBinary { index, value });
            }
        }
        let filled = policy.fill(scores);
        let (values, clusters) = scored(&filled, method)?;
        let estimate = Self::counted(scores, "a proportion")?;
        if values.is_empty() {
            return Ok(estimate);
        }
        let num_yes = values.iter().filter(|value| **value == 1.0).count();
        let value = num_yes as f64 / values.len() as f64;
        let interval = match method {
            IntervalMethod::Wilson => wilson_interval(num_yes, values.len()),
            IntervalMethod::Bootstrap(config) => hull(
                bootstrap::bootstrap_mean(&values, config)?,
                wilson_interval(num_yes, values.len()),
            ),
            IntervalMethod::ClusterBootstrap { config, .. } => {
                let distinct: BTreeSet<_> = clusters.iter().collect();
                hull(
                    bootstrap::cluster_bootstrap_mean(&values, &clusters, config)?,
                    Some(wilson(value, distinct.len() as f64)),
                )
            }
        };
        Ok(Self {
            value: Some(value),
            interval,
            ..estimate
        })
    }

    /// The mean of measurements, such as the negative log-likelihood per token.
    ///
    /// [`IntervalMethod::Wilson`] does not apply to them.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for no samples, a score that is not finite, a cluster list of another
    /// length, or Wilson's method.
    pub fn mean(scores: &[Score], method: &IntervalMethod<'_>) -> Result<Self, MetricError> {
        let (mut values, clusters) = scored(scores, method)?;
        let estimate = Self::counted(scores, "a mean")?;
        let interval = match method {
            IntervalMethod::Wilson => {
                return Err(MetricError::Config {
                    field: "interval method",
                    expected: "a bootstrap for a mean",
                    got: "wilson".into(),
                });
            }
            IntervalMethod::Bootstrap(config) => bootstrap::bootstrap_mean(&values, config)?,
            IntervalMethod::ClusterBootstrap { config, .. } => {
                bootstrap::cluster_bootstrap_mean(&values, &clusters, config)?
            }
        };
        // Sorted, so that the order of the samples does not move the last digits.
        values.sort_by(f64::total_cmp);
        let value = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        Ok(Self {
            value,
            interval,
            ..estimate
        })
    }

    fn counted(scores: &[Score], metric: &'static str) -> Result<Self, MetricError> {
        if scores.is_empty() {
            return Err(MetricError::Empty { metric });
        }
        let num_scored = scores.iter().filter(|score| score.value.is_some()).count();
        Ok(Self {
            num_scored,
            num_unscored: scores.len() - num_scored,
            ..Self::UNMEASURED
        })
    }
}

/// The smallest interval that covers both.
pub(crate) fn hull(a: Option<(f64, f64)>, b: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, None) | (None, one) => one,
    }
}

/// The values of the scored samples, and their clusters where the method has any.
fn scored(
    scores: &[Score],
    method: &IntervalMethod<'_>,
) -> Result<(Vec<f64>, Vec<usize>), MetricError> {
    let values = scores.iter().filter_map(|score| score.value).collect();
    let clusters = match method {
        IntervalMethod::ClusterBootstrap { clusters, .. } => {
            if clusters.len() != scores.len() {
                return Err(MetricError::Length {
                    what: "clusters of the samples",
                    expected: scores.len(),
                    got: clusters.len(),
                });
            }
            scores
                .iter()
                .zip(*clusters)
                .filter(|(score, _)| score.value.is_some())
                .map(|(_, cluster)| *cluster)
                .collect()
        }
        _ => Vec::new(),
    };
    Ok((values, clusters))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EstimateFile {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    num_scored: usize,
    num_unscored: usize,
}

impl From<Estimate> for EstimateFile {
    fn from(estimate: Estimate) -> Self {
        Self {
            value: estimate.value,
            low: estimate.interval.map(|(low, _)| low),
            high: estimate.interval.map(|(_, high)| high),
            num_scored: estimate.num_scored,
            num_unscored: estimate.num_unscored,
        }
    }
}

impl From<EstimateFile> for Estimate {
    fn from(file: EstimateFile) -> Self {
        Self {
            value: file.value,
            interval: file.low.zip(file.high),
            num_scored: file.num_scored,
            num_unscored: file.num_unscored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Score = Score { value: Some(1.0) };
    const NO: Score = Score { value: Some(0.0) };

    fn clustered<'a>(clusters: &'a [usize]) -> IntervalMethod<'a> {
        IntervalMethod::ClusterBootstrap {
            clusters,
            config: BootstrapConfig::default(),
        }
    }

    #[test]
    fn policies_move_the_value_and_never_the_counts() {
        let scores = [YES, NO, NO, Score::UNSCORED];
        for (policy, value, trials) in [
            (UnparsedPolicy::Exclude, 1.0 / 3.0, 3),
            (UnparsedPolicy::CountAsYes, 0.5, 4),
            (UnparsedPolicy::CountAsNo, 0.25, 4),
        ] {
            let got = Estimate::proportion(&scores, policy, &IntervalMethod::Wilson).unwrap();
            assert_eq!(got.value, Some(value));
            assert_eq!(
                got.interval,
                wilson_interval((value * trials as f64).round() as usize, trials)
            );
            assert_eq!((got.num_scored, got.num_unscored), (3, 1));
        }
    }

    #[test]
    fn nothing_scored_is_no_zero() {
        let scores = [Score::UNSCORED; 3];
        let got = Estimate::proportion(&scores, UnparsedPolicy::Exclude, &IntervalMethod::Wilson)
            .unwrap();
        assert_eq!(
            got,
            Estimate {
                num_unscored: 3,
                ..Estimate::UNMEASURED
            }
        );
        let got = Estimate::mean(
            &scores,
            &IntervalMethod::Bootstrap(BootstrapConfig::default()),
        )
        .unwrap();
        assert_eq!((got.value, got.num_unscored), (None, 3));
        let error = Estimate::proportion(&[], UnparsedPolicy::Exclude, &IntervalMethod::Wilson);
        assert_eq!(
            error.unwrap_err().to_string(),
            "a proportion of no samples is undefined"
        );
    }

    #[test]
    fn clusters_follow_their_samples_when_some_are_unscored() {
        // The unscored sample takes its cluster id with it, so two clusters of two remain.
        let scores = [YES, Score::UNSCORED, YES, NO, NO];
        let got = Estimate::proportion(
            &scores,
            UnparsedPolicy::Exclude,
            &clustered(&[1, 9, 1, 2, 2]),
        );
        assert_eq!(got.unwrap().interval, Some((0.0, 1.0)));
    }

    #[test]
    fn all_alike_in_clusters_is_wilson_over_the_clusters() {
        let got = Estimate::proportion(
            &[NO; 6],
            UnparsedPolicy::Exclude,
            &clustered(&[0, 0, 0, 1, 1, 2]),
        );
        assert_eq!(got.unwrap().interval, wilson_interval(0, 3));
    }

    #[test]
    fn bad_scores_are_named() {
        let scores = [YES, Score::new(0.5)];
        let error = Estimate::proportion(&scores, UnparsedPolicy::Exclude, &IntervalMethod::Wilson);
        assert_eq!(
            error.unwrap_err().to_string(),
            "score 1 is 0.5, expected 0 or 1"
        );
        let error = Estimate::mean(
            &[Score::new(f64::INFINITY)],
            &IntervalMethod::Bootstrap(BootstrapConfig::default()),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "score 0 is inf, expected a finite number"
        );
        let error = Estimate::mean(&scores, &IntervalMethod::Wilson).unwrap_err();
        assert!(error.to_string().contains("a bootstrap for a mean"));
        let error =
            Estimate::proportion(&[YES], UnparsedPolicy::Exclude, &clustered(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "clusters of the samples: expected 1 entries, got 0"
        );
    }

    #[test]
    fn json_has_the_fields_of_the_report() {
        let estimate = Estimate {
            value: Some(0.25),
            interval: Some((0.125, 0.5)),
            num_scored: 8,
            num_unscored: 1,
        };
        let json = serde_json::to_string(&estimate).unwrap();
        assert_eq!(
            json,
            r#"{"value":0.25,"low":0.125,"high":0.5,"num_scored":8,"num_unscored":1}"#
        );
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
        let json = serde_json::to_string(&Estimate::UNMEASURED).unwrap();
        assert_eq!(
            json,
            r#"{"value":null,"low":null,"high":null,"num_scored":0,"num_unscored":0}"#
        );
    }
}
