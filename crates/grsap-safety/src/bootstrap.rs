use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::MetricError;

/// How a bootstrap resamples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BootstrapConfig {
    /// How often. At least 40, or the 2.5% quantile is not among them.
    pub num_resamples: usize,
    /// Fixes every draw.
    pub seed: u64,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self {
            num_resamples: 2000,
            seed: 0,
        }
    }
}

/// The 95% percentile-bootstrap interval of the mean of `values`.
///
/// `None` for fewer than two values: one value says nothing about spread. The order of the values changes
/// nothing.
///
/// # Errors
///
/// [`MetricError`] for a value that is not finite or too few resamples.
pub fn bootstrap_mean(
    values: &[f64],
    config: &BootstrapConfig,
) -> Result<Option<(f64, f64)>, MetricError> {
    check(values, config)?;
    let units = values.iter().map(|value| (*value, 1)).collect();
    Ok(percentile_interval(units, config))
}

/// The 95% percentile-bootstrap interval of the mean of `values`, resampling whole clusters.
///
/// Values of one cluster (near-duplicate prompts) are not independent; an interval that treats them
/// as if they were is too narrow. `clusters` names the cluster of each value. `None` for fewer than
/// two clusters. The order of the values and the names of the clusters change nothing.
///
/// # Errors
///
/// [`MetricError`] for a value that is not finite, too few resamples, or lists of different length.
pub fn cluster_bootstrap_mean(
    values: &[f64],
    clusters: &[usize],
    config: &BootstrapConfig,
) -> Result<Option<(f64, f64)>, MetricError> {
    check(values, config)?;
    if values.len() != clusters.len() {
        return Err(MetricError::Length {
            what: "clusters of the values",
            expected: values.len(),
            got: clusters.len(),
        });
    }
    let mut pairs: Vec<(usize, f64)> = clusters
        .iter()
        .copied()
        .zip(values.iter().copied())
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let units = pairs.chunk_by(|a, b| a.0 == b.0).map(|unit| {
        let sum = unit.iter().map(|(_, value)| value).sum();
        (sum, unit.len())
    });
    Ok(percentile_interval(units.collect(), config))
}

fn check(values: &[f64], config: &BootstrapConfig) -> Result<(), MetricError> {
    if config.num_resamples < 40 {
        return Err(MetricError::Config {
            field: "num_resamples",
            expected: "at least 40",
            got: config.num_resamples.to_string(),
        });
    }
    match values
        .iter()
        .enumerate()
        .find(|(_, value)| !value.is_finite())
    {
        Some((index, value)) => Err(MetricError::NotFinite {
            index,
            value: *value,
        }),
        None => Ok(()),
    }
}

/// Resamples units of (sum, count); the statistic is the sum of sums over the sum of counts.
fn percentile_interval(
    mut units: Vec<(f64, usize)>,
    config: &BootstrapConfig,
) -> Option<(f64, f64)> {
    if units.len() < 2 {
        return None;
    }
    // A draw is of a place in this list, so the list must not depend on the order of the rows.
    units.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut means: Vec<f64> = (0..config.num_resamples)
        .map(|resample| {
            // One stream for each resample, so that more of them never move the earlier ones.
            let part = (resample as u64).to_le_bytes();
            let mut rng = grsap_core::rng(config.seed, "safety.bootstrap", &[&part]);
            let (mut sum, mut count) = (0.0, 0);
            for _ in 0..units.len() {
                let index = rng.random_range(0..units.len());
                let (s, c) = units.get(index).copied().unwrap_or_default();
                sum += s;
                count += c;
            }
            sum / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some((quantile(&means, 0.025)?, quantile(&means, 0.975)?))
}

/// The `q` quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * (sorted.len().checked_sub(1)?) as f64;
    let low = *sorted.get(position.floor() as usize)?;
    let high = *sorted.get(position.ceil() as usize)?;
    Some(low + (high - low) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let sorted = [0.0, 1.0, 2.0, 10.0];
        assert_eq!(quantile(&sorted, 0.0), Some(0.0));
        assert_eq!(quantile(&sorted, 0.5), Some(1.5));
        assert_eq!(quantile(&sorted, 1.0), Some(10.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn it_agrees_with_the_normal_approximation() {
        // 400 numbers 0..399 scaled: mean 0.5, standard error sd / 20.
        let values: Vec<f64> = (0..400).map(|i| f64::from(i) / 399.0).collect();
        let sd = (values.iter().map(|v| (v - 0.5).powi(2)).sum::<f64>() / 400.0).sqrt();
        let config = BootstrapConfig {
            num_resamples: 4000,
            seed: 1,
        };
        let (low, high) = bootstrap_mean(&values, &config).unwrap().unwrap();
        let half = 1.96 * sd / 20.0;
        assert!((low - (0.5 - half)).abs() < 0.002, "{low}");
        assert!((high - (0.5 + half)).abs() < 0.002, "{high}");
    }

    #[test]
    fn clusters_of_copies_widen_the_interval_by_the_root_of_their_size() {
        // 200 values, each in 4 copies: as informative as 200, not as 800.
        let once: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        let copies: Vec<f64> = once.iter().flat_map(|v| [*v; 4]).collect();
        let clusters: Vec<usize> = (0..800).map(|i| i / 4).collect();
        let config = BootstrapConfig {
            num_resamples: 4000,
            seed: 2,
        };
        let width = |(low, high): (f64, f64)| high - low;
        let naive = width(bootstrap_mean(&copies, &config).unwrap().unwrap());
        let aware = width(
            cluster_bootstrap_mean(&copies, &clusters, &config)
                .unwrap()
                .unwrap(),
        );
        assert!(
            (aware / naive - 2.0).abs() < 0.15,
            "{aware} against {naive}"
        );
        let exact = width(bootstrap_mean(&once, &config).unwrap().unwrap());
        assert_eq!(aware, exact, "copies add nothing");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = [0.1, 0.5, 0.9, 0.3];
        let interval = |seed| {
            bootstrap_mean(
                &values,
                &BootstrapConfig {
                    num_resamples: 100,
                    seed,
                },
            )
            .unwrap()
        };
        assert_eq!(interval(3), interval(3));
        assert_ne!(interval(3), interval(4));
    }

    #[test]
    fn too_little_to_go_on() {
        let config = BootstrapConfig::default();
        assert_eq!(bootstrap_mean(&[], &config).unwrap(), None);
        assert_eq!(bootstrap_mean(&[0.5], &config).unwrap(), None);
        assert_eq!(
            cluster_bootstrap_mean(&[0.0, 1.0], &[7, 7], &config).unwrap(),
            None
        );
    }

    #[test]
    fn bad_input_is_named() {
        let config = BootstrapConfig::default();
        let error = bootstrap_mean(&[0.0, f64::NAN], &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "score 1 is NaN, expected a finite number"
        );
        let error = cluster_bootstrap_mean(&[0.0, 1.0], &[1], &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "clusters of the values: expected 2 entries, got 1"
        );
        let few = BootstrapConfig {
            num_resamples: 10,
            seed: 0,
        };
        let error = bootstrap_mean(&[0.0, 1.0], &few).unwrap_err();
        assert_eq!(
            error.to_string(),
            "num_resamples must be at least 40, got 10"
        );
    }
}
