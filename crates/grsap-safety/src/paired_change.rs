use std::collections::BTreeMap;

use crate::estimate::hull;
use crate::wilson::Z_95;
use crate::{Estimate, IntervalMethod, McNemar, MetricError, Score, UnparsedPolicy, bootstrap};

/// By how much a proportion changes between two models on the same prompts: that of the second less that of
/// the first, within [-1, 1], with its 95% interval.
///
/// The policy fills in what could not be scored, in both lists; with
/// [`UnparsedPolicy::Exclude`] a prompt counts where both models were scored. `num_unscored` are the prompts
/// that were not scored for at least one of them. [`IntervalMethod::Wilson`] stands for the score
/// interval of pairs, which is Tango's. The interval of a bootstrap also covers Tango's, of clusters as a
/// whole where there are any: one where few clusters change would otherwise be far too narrow.
///
/// # Errors
///
/// [`MetricError`] for lists of different length, no samples, scores other than 0 and 1, or a cluster list of
/// another length. Samples that are all unscored are no error: the value is `None`.
///
/// # Examples
///
/// ```
/// use grsap_safety::{IntervalMethod, Score, UnparsedPolicy, paired_change};
///
/// let start = [false, false, false, true].map(Score::binary);
/// let tuned = [false, true, false, true].map(Score::binary);
/// let change =
///     paired_change(&start, &tuned, UnparsedPolicy::Exclude, &IntervalMethod::Wilson)?;
/// assert_eq!(change.value, Some(0.25));
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
/// design (1998).
pub fn paired_change(
    first: &[Score],
    second: &[Score],
    policy: UnparsedPolicy,
    method: &IntervalMethod<'_>,
) -> Result<Estimate, MetricError> {
    let unfilled = McNemar::new(first, second)?;
    let (first, second) = (policy.fill(first), policy.fill(second));
    let table = McNemar::new(&first, &second)?;
    let pairs = Pairs::new(&table);
    let estimate = Estimate {
        num_scored: first.len() - unfilled.num_unscored,
        num_unscored: unfilled.num_unscored,
        ..Estimate::UNMEASURED
    };
    let differences: Vec<Option<f64>> = first
        .iter()
        .zip(&second)
        .map(|(a, b)| Some(b.value? - a.value?))
        .collect();
    let known = || differences.iter().copied().flatten();
    let interval = match method {
        IntervalMethod::Wilson => pairs.interval(),
        IntervalMethod::Bootstrap(config) => {
            let resampled = bootstrap::bootstrap_mean(&known().collect::<Vec<_>>(), config)?;
            hull(resampled, pairs.interval())
        }
        IntervalMethod::ClusterBootstrap { clusters, config } => {
            check_clusters(first.len(), clusters)?;
            let both = differences.iter().zip(*clusters);
            let (values, clusters): (Vec<f64>, Vec<usize>) = both
                .filter_map(|(difference, cluster)| Some(((*difference)?, *cluster)))
                .unzip();
            hull(
                bootstrap::cluster_bootstrap_mean(&values, &clusters, config)?,
                Pairs::of_clusters(&values, &clusters).interval(),
            )
        }
    };
    Ok(Estimate {
        value: pairs.change(),
        interval,
        ..estimate
    })
}

pub(crate) fn check_clusters(expected: usize, clusters: &[usize]) -> Result<(), MetricError> {
    if clusters.len() == expected {
        return Ok(());
    }
    Err(MetricError::Length {
        what: "clusters of the samples",
        expected,
        got: clusters.len(),
    })
}

/// The prompts that both models were scored on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs {
    pub(crate) only_first: f64,
    pub(crate) only_second: f64,
    pub(crate) num: f64,
}

impl Pairs {
    pub(crate) fn new(table: &McNemar) -> Self {
        let McNemar {
            both,
            only_first,
            only_second,
            neither,
            ..
        } = *table;
        Self {
            only_first: only_first as f64,
            only_second: only_second as f64,
            num: (both + only_first + only_second + neither) as f64,
        }
    }

    /// Clusters as a whole: which of them change for which side.
    fn of_clusters(differences: &[f64], clusters: &[usize]) -> Self {
        let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
        for (difference, cluster) in differences.iter().zip(clusters) {
            *sums.entry(*cluster).or_default() += difference;
        }
        let count = |is_meant: fn(&f64) -> bool| sums.values().filter(|sum| is_meant(sum)).count();
        Self {
            only_first: count(|sum| *sum < 0.0) as f64,
            only_second: count(|sum| *sum > 0.0) as f64,
            num: sums.len() as f64,
        }
    }

    fn change(&self) -> Option<f64> {
        (self.num > 0.0).then(|| (self.only_second - self.only_first) / self.num)
    }

    /// Tango's statistic of the hypothesis that the change is `change`; about standard normal if it
    /// is. It falls as `change` grows.
    pub(crate) fn score(&self, change: f64) -> f64 {
        let Self {
            only_first,
            only_second,
            num,
        } = *self;
        let gap = only_second - only_first - num * change;
        if gap == 0.0 {
            return 0.0;
        }
        // The likeliest share of `only_first` under the hypothesis, from a quadratic equation.
        let b = -only_second - only_first + (2.0 * num - only_second + only_first) * change;
        let c = -only_first * change * (1.0 - change);
        let root = (b * b - 8.0 * num * c).max(0.0).sqrt();
        let share = (root - b) / (4.0 * num);
        let variance = num * (2.0 * share + change * (1.0 - change));
        gap / variance.max(0.0).sqrt()
    }

    fn interval(&self) -> Option<(f64, f64)> {
        let change = self.change()?;
        // Where the falling statistic passes `level`.
        let pass = |level: f64, mut low: f64, mut high: f64| {
            for _ in 0..80 {
                let middle = (low + high) / 2.0;
                if self.score(middle) > level {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            (low + high) / 2.0
        };
        Some((pass(Z_95, -1.0, change), pass(-Z_95, change, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BootstrapConfig;

    fn lists(both: usize, first: usize, second: usize, neither: usize) -> (Vec<Score>, Vec<Score>) {
        let mut lists = (Vec::new(), Vec::new());
        for (count, a, b) in [
            (both, true, true),
            (first, true, false),
            (second, false, true),
            (neither, false, false),
        ] {
            lists.0.extend(vec![Score::binary(a); count]);
            lists.1.extend(vec![Score::binary(b); count]);
        }
        lists
    }

    fn change(table: [usize; 4], method: &IntervalMethod<'_>) -> Estimate {
        let (first, second) = lists(table[0], table[1], table[2], table[3]);
        paired_change(&first, &second, UnparsedPolicy::Exclude, method).unwrap()
    }

    #[test]
    fn no_discordant_pairs_still_leave_a_width() {
        let (low, high) = change([10, 0, 0, 90], &IntervalMethod::Wilson)
            .interval
            .unwrap();
        let expected = Z_95 * Z_95 / (100.0 + Z_95 * Z_95);
        assert!((high - expected).abs() < 1e-12 && (low + expected).abs() < 1e-12);
    }

    #[test]
    fn swapping_the_models_turns_the_interval_round() {
        for table in [[3, 5, 2, 40], [0, 0, 7, 0], [0, 9, 0, 1], [1, 0, 0, 0]] {
            let found = change(table, &IntervalMethod::Wilson);
            let swapped = [table[0], table[2], table[1], table[3]];
            let swapped = change(swapped, &IntervalMethod::Wilson);
            let ((low, high), (low2, high2)) = (found.interval.unwrap(), swapped.interval.unwrap());
            assert!(
                (low + high2).abs() < 1e-9 && (high + low2).abs() < 1e-9,
                "{table:?}"
            );
            let value = found.value.unwrap();
            assert!(low <= value && value <= high, "{found:?}");
            assert!((-1.0..=1.0).contains(&low) && (-1.0..=1.0).contains(&high));
        }
    }

    #[test]
    fn policies_fill_both_lists() {
        let (y, n, u) = (Score::binary(true), Score::binary(false), Score::UNSCORED);
        let (first, second) = ([y, n, n, u], [y, y, u, n]);
        let value = |policy| {
            let found = paired_change(&first, &second, policy, &IntervalMethod::Wilson).unwrap();
            assert_eq!((found.num_scored, found.num_unscored), (2, 2));
            found.value
        };
        assert_eq!(value(UnparsedPolicy::Exclude), Some(0.5));
        assert_eq!(value(UnparsedPolicy::CountAsYes), Some(0.25));
        assert_eq!(value(UnparsedPolicy::CountAsNo), Some(0.25));
        let none = [u; 3];
        let found = paired_change(
            &none,
            &none,
            UnparsedPolicy::Exclude,
            &IntervalMethod::Wilson,
        );
        let expected = Estimate {
            num_unscored: 3,
            ..Estimate::UNMEASURED
        };
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn copies_in_clusters_add_nothing() {
        let config = BootstrapConfig::default();
        let (first, second) = lists(4, 6, 12, 38);
        let clusters: Vec<usize> = (0..60).collect();
        let clustered = |first: &[Score], second: &[Score], clusters: &[usize]| {
            let method = IntervalMethod::ClusterBootstrap {
                clusters,
                config: config.clone(),
            };
            paired_change(first, second, UnparsedPolicy::Exclude, &method).unwrap()
        };
        let once = clustered(&first, &second, &clusters);
        let twice = clustered(
            &first.repeat(2),
            &second.repeat(2),
            &[clusters.clone(), clusters.clone()].concat(),
        );
        assert_eq!((once.value, once.interval), (twice.value, twice.interval));
        // Without a change, too.
        let once = clustered(&first, &first, &clusters);
        let twice = clustered(&first.repeat(2), &first.repeat(2), &clusters.repeat(2));
        assert_eq!(once.interval, twice.interval);
        let error = paired_change(
            &first,
            &second,
            UnparsedPolicy::Exclude,
            &IntervalMethod::ClusterBootstrap {
                clusters: &[0],
                config,
            },
        );
        assert!(matches!(error, Err(MetricError::Length { .. })));
    }
}
