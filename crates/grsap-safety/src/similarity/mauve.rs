use serde::{Deserialize, Serialize};

use super::k_means::KMeans;
use super::pca::project;
use super::{Features, MauveConfig};
use crate::MetricError;

/// How close two sets of texts are, from the divergences of their clusters.
///
/// Both sets are cut into the same clusters; what counts is which share of each lies where. The two
/// KL divergences from every mixture of the two make a curve, and MAUVE is the area below it.
///
/// # Examples
///
/// ```
/// use grsap_safety::{Features, Mauve, MauveConfig};
///
/// // Angles of 0 to 57 degrees, and the same moved by 11.
/// let circle = |from: f32| -> Vec<f32> {
///     let angles = (0..200).map(|i| from + i as f32 / 200.0);
///     angles.flat_map(|angle| [angle.cos(), angle.sin()]).collect()
/// };
/// let (p, q) = (circle(0.0), circle(0.2));
/// let (p, q) = (Features::new(&p, 2)?, Features::new(&q, 2)?);
/// let config = MauveConfig::default();
/// let near = Mauve::new(p, q, &config)?;
/// assert!(near.mauve > 0.5 && near.mauve < 0.95);
/// assert!(Mauve::new(p, p, &config)?.mauve > 0.999);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// Pillutla et al., MAUVE (NeurIPS 2021) and MAUVE Scores for Generative Models (JMLR 2023); Liu et al.,
/// Divergence Frontiers for Generative Models (NeurIPS 2021) for the integral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mauve {
    /// The area below the curve: near 0 for sets that have nothing in common, 1 for equal ones.
    pub mauve: f64,
    /// The same with half a text added to every cluster of both sets. Better for small sets.
    pub mauve_star: f64,
    /// The mean divergence along the frontier, within [0, 1]; 0 for equal sets.
    pub frontier_integral: f64,
    /// The same with half a text added to every cluster of both sets.
    pub frontier_integral_star: f64,
    /// Clusters.
    pub num_buckets: usize,
    /// Principal components that the clusters were sought in; 0 where the clusters were given.
    pub dim: usize,
    /// `(exp(-c KL(q, r)), exp(-c KL(p, r)))` for every mixture `r`, from nearly all `q` to nearly all `p`,
    /// between the ends (1, 0) and (0, 1).
    pub curve: Vec<(f64, f64)>,
}

impl Mauve {
    /// Compares two sets of features.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for rows of different lengths or a setting that is out of range.
    pub fn new(
        p: Features<'_>,
        q: Features<'_>,
        config: &MauveConfig,
    ) -> Result<Self, MetricError> {
        config.check()?;
        p.check_same_dim(&q)?;
        let num_buckets = config.buckets_for(p.num_rows(), q.num_rows())?;
        let (of_p, of_q, dim) = buckets(p, q, num_buckets, config)?;
        let mauve = Self::from_buckets(&of_p, &of_q, num_buckets, config)?;
        Ok(Self { dim, ..mauve })
    }

    /// Compares two sets whose clusters are known: entry `i` is the cluster of text `i`, below
    /// `num_buckets`.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for an empty set, a cluster out of range, or a setting out of range.
    pub fn from_buckets(
        p: &[usize],
        q: &[usize],
        num_buckets: usize,
        config: &MauveConfig,
    ) -> Result<Self, MetricError> {
        config.check()?;
        let (p, q) = (counts(p, num_buckets)?, counts(q, num_buckets)?);
        let curve = curve(&shares(&p, 0.0), &shares(&q, 0.0), config);
        let smooth = (shares(&p, 0.5), shares(&q, 0.5));
        Ok(Self {
            mauve: area(&curve),
            mauve_star: area(&self::curve(&smooth.0, &smooth.1, config)),
            frontier_integral: frontier_integral(&shares(&p, 0.0), &shares(&q, 0.0)),
            frontier_integral_star: frontier_integral(&smooth.0, &smooth.1),
            num_buckets,
            dim: 0,
            curve,
        })
    }
}

/// The clusters of the rows of both sets, and the number of components they were sought in.
pub(crate) fn buckets(
    p: Features<'_>,
    q: Features<'_>,
    num_buckets: usize,
    config: &MauveConfig,
) -> Result<(Vec<usize>, Vec<usize>, usize), MetricError> {
    // q before p, and 2 more than the seed, as mauve-text has it: so the draws are the same.
    let projected = project(&[q, p], config.explained_variance)?;
    let k_means = KMeans {
        num_clusters: num_buckets,
        max_iter: config.max_iter,
        num_redo: config.num_redo,
        seed: config.seed.wrapping_add(2),
    };
    let labels = k_means.assign(&projected.values, projected.dim);
    let mut of_q: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
    let of_p = of_q.split_off(q.num_rows());
    Ok((of_p, of_q, projected.dim))
}

fn counts(buckets: &[usize], num_buckets: usize) -> Result<Vec<usize>, MetricError> {
    if buckets.is_empty() {
        return Err(MetricError::Empty { metric: "MAUVE" });
    }
    let mut counts = vec![0; num_buckets];
    for bucket in buckets {
        match counts.get_mut(*bucket) {
            Some(count) => *count += 1,
            None => {
                return Err(MetricError::Config {
                    field: "a bucket",
                    expected: "below num_buckets",
                    got: bucket.to_string(),
                });
            }
        }
    }
    Ok(counts)
}

/// The counts with `extra` added to each, as shares of their sum.
fn shares(counts: &[usize], extra: f64) -> Vec<f64> {
    let total = counts.iter().sum::<usize>() as f64 + extra * counts.len() as f64;
    let share = |count: &usize| (*count as f64 + extra) / total;
    counts.iter().map(share).collect()
}

fn curve(p: &[f64], q: &[f64], config: &MauveConfig) -> Vec<(f64, f64)> {
    // The ends themselves may be infinitely far.
    const FROM_END: f64 = 1e-6;
    let step = (1.0 - 2.0 * FROM_END) / (config.num_mixtures - 1) as f64;
    let closeness = |x: &[f64], mixture: &[f64]| (-config.scaling_factor * kl(x, mixture)).exp();
    (0..config.num_mixtures)
        .map(|at| {
            let weight = FROM_END + step * at as f64;
            let pairs = p.iter().zip(q);
            let mixture: Vec<f64> = pairs
                .map(|(p, q)| weight * p + (1.0 - weight) * q)
                .collect();
            (closeness(q, &mixture), closeness(p, &mixture))
        })
        .collect()
}

/// The KL divergence in nats from a mixture that has a share of `x` in it.
fn kl(x: &[f64], mixture: &[f64]) -> f64 {
    let pairs = x.iter().zip(mixture).filter(|(x, _)| **x > 0.0);
    pairs.map(|(x, mixture)| x * (x / mixture).ln()).sum()
}

/// The mean of the areas below the curve and beside it, by trapezia. The curve falls, so of points with
/// equal abscissa the higher one comes first.
fn area(curve: &[(f64, f64)]) -> f64 {
    let ends = [(1.0, 0.0), (0.0, 1.0)];
    let mut points: Vec<(f64, f64)> = curve.iter().copied().chain(ends).collect();
    let mut below = || {
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let width_times_height = |pair: &[(f64, f64)]| match pair {
            [a, b] => (b.0 - a.0) * (a.1 + b.1) / 2.0,
            _ => 0.0,
        };
        let area: f64 = points.windows(2).map(width_times_height).sum();
        points.iter_mut().for_each(|(x, y)| std::mem::swap(x, y));
        area
    };
    (below() + below()) / 2.0
}

/// `2 ∫ λ KL(p, r) + (1 - λ) KL(q, r) dλ` with `r = λ p + (1 - λ) q`, in closed form.
fn frontier_integral(p: &[f64], q: &[f64]) -> f64 {
    let of_bucket = |(p, q): (&f64, &f64)| {
        let mean = (p + q) / 2.0;
        if (p - q).abs() <= 1e-8 {
            0.0
        } else if *p == 0.0 || *q == 0.0 {
            mean
        } else {
            mean - p * q * (p / q).ln() / (p - q)
        }
    };
    p.iter().zip(q).map(of_bucket).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_disjoint_sets() {
        let config = MauveConfig::default();
        for buckets in [vec![0, 1, 1, 2], vec![0, 1, 2, 3, 3, 3], vec![1]] {
            let same = Mauve::from_buckets(&buckets, &buckets, 4, &config).unwrap();
            assert!((same.mauve - 1.0).abs() < 1e-12, "{same:?}");
            assert_eq!(
                (same.frontier_integral, same.frontier_integral_star),
                (0.0, 0.0)
            );
        }
        let apart = Mauve::from_buckets(&[0, 0], &[1, 1], 2, &config).unwrap();
        assert!(apart.mauve < 0.2, "{apart:?}");
        assert_eq!(apart.frontier_integral, 1.0);
        assert!(apart.mauve_star > apart.mauve);
    }

    #[test]
    fn order_and_names_of_clusters_do_not_matter() {
        let config = MauveConfig::default();
        let (p, q) = ([0, 0, 1, 2, 2, 3], [0, 1, 1, 1, 3, 3, 3]);
        let first = Mauve::from_buckets(&p, &q, 4, &config).unwrap();
        let mut turned = p;
        turned.reverse();
        assert_eq!(Mauve::from_buckets(&turned, &q, 4, &config).unwrap(), first);
        let other = |buckets: &[usize]| buckets.iter().map(|b| (b + 1) % 4).collect::<Vec<_>>();
        let renamed = Mauve::from_buckets(&other(&p), &other(&q), 4, &config).unwrap();
        assert!((renamed.mauve - first.mauve).abs() < 1e-12);
        let swapped = Mauve::from_buckets(&q, &p, 4, &config).unwrap();
        assert!((swapped.mauve - first.mauve).abs() < 1e-12);
    }

    #[test]
    fn the_integral_is_the_mean_over_mixtures() {
        let (p, q) = ([0.2, 0.3, 0.5, 0.0], [0.4, 0.1, 0.0, 0.5]);
        let n = 100_000;
        let numeric: f64 = (0..n)
            .map(|i| {
                let weight = (f64::from(i) + 0.5) / f64::from(n);
                let mixture: Vec<f64> = p
                    .iter()
                    .zip(q)
                    .map(|(p, q)| weight * p + (1.0 - weight) * q)
                    .collect();
                weight * kl(&p, &mixture) + (1.0 - weight) * kl(&q, &mixture)
            })
            .sum();
        let numeric = 2.0 * numeric / f64::from(n);
        assert!((frontier_integral(&p, &q) - numeric).abs() < 1e-6);
    }

    #[test]
    fn bad_input_is_named() {
        let config = MauveConfig::default();
        let error = Mauve::from_buckets(&[2], &[0], 2, &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a bucket must be below num_buckets, got 2"
        );
        assert!(Mauve::from_buckets(&[], &[0], 2, &config).is_err());
        let values = [0.5; 8];
        let features = Features::new(&values, 2).unwrap();
        let bad = |change: fn(&mut MauveConfig)| {
            let mut config = MauveConfig::default();
            change(&mut config);
            Mauve::new(features, features, &config)
                .unwrap_err()
                .to_string()
        };
        for (message, expected) in [
            (
                bad(|c| c.explained_variance = 1.0),
                "explained_variance must be between 0 and 1, got 1",
            ),
            (
                bad(|c| c.scaling_factor = f64::NAN),
                "scaling_factor must be a number above 0, got NaN",
            ),
            (
                bad(|c| c.num_redo = 0),
                "num_redo must be at least 1, got 0",
            ),
            (
                bad(|c| c.num_mixtures = 1),
                "num_mixtures must be at least 2, got 1",
            ),
            (
                bad(|c| c.num_buckets = Some(9)),
                "num_buckets must be at most the number of rows of both sets, got 9 for 8 rows",
            ),
        ] {
            assert_eq!(message, expected);
        }
        let other = Features::new(&values, 4).unwrap();
        assert!(Mauve::new(features, other, &config).is_err());
    }

    #[test]
    fn the_smallest_sets() {
        let values = [1.0, 0.0, 0.0, 1.0];
        let one = Features::new(&values[..2], 2).unwrap();
        let other = Features::new(&values[2..], 2).unwrap();
        let config = MauveConfig::default();
        assert!((Mauve::new(one, one, &config).unwrap().mauve - 1.0).abs() < 1e-12);
        assert!(Mauve::new(one, other, &config).unwrap().mauve < 0.2);
    }
}
