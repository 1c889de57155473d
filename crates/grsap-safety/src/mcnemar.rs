use serde::{Deserialize, Serialize};

use crate::paired_change::check_clusters;
use crate::{MetricError, Score};

/// McNemar's exact test: do two models differ on the same prompts?
///
/// Only the prompts on which they disagree say anything; under the hypothesis of no difference each
/// of those is a fair coin.
///
/// # Examples
///
/// ```
/// use grsap_safety::{McNemar, Score};
///
/// let a = [true, true, true, true, true, false].map(Score::binary);
/// let b = [false, false, false, false, false, false].map(Score::binary);
/// let test = McNemar::new(&a, &b)?;
/// assert_eq!((test.only_first, test.only_second), (5, 0));
/// assert_eq!(test.p_value, 0.0625);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McNemar {
    /// Prompts with a yes from both.
    pub both: usize,
    /// Prompts with a yes from the first model alone.
    pub only_first: usize,
    /// Prompts with a yes from the second model alone.
    pub only_second: usize,
    /// Prompts with a yes from neither.
    pub neither: usize,
    /// Prompts that could not be scored for at least one of the two; they are left out.
    pub num_unscored: usize,
    /// Two-sided; 1 where the models never disagree.
    pub p_value: f64,
}

impl McNemar {
    /// Compares the scores (0 and 1) of two models; entry `i` of both is for prompt `i`.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for lists of different length, no samples, or scores other than 0 and 1.
    pub fn new(first: &[Score], second: &[Score]) -> Result<Self, MetricError> {
        if first.len() != second.len() {
            return Err(MetricError::Length {
                what: "scores of the second model",
                expected: first.len(),
                got: second.len(),
            });
        }
        if first.is_empty() {
            return Err(MetricError::Empty {
                metric: "a paired test",
            });
        }
        let mut test = Self {
            both: 0,
            only_first: 0,
            only_second: 0,
            neither: 0,
            num_unscored: 0,
            p_value: 1.0,
        };
        for (index, (a, b)) in first.iter().zip(second).enumerate() {
            let count = match (is_yes(index, a)?, is_yes(index, b)?) {
                (Some(true), Some(true)) => &mut test.both,
                (Some(true), Some(false)) => &mut test.only_first,
                (Some(false), Some(true)) => &mut test.only_second,
                (Some(false), Some(false)) => &mut test.neither,
                _ => &mut test.num_unscored,
            };
            *count += 1;
        }
        test.p_value = exact_p_value(test.only_first, test.only_second);
        Ok(test)
    }

    /// The same for prompts that are not independent: whole clusters of near-duplicates count.
    ///
    /// Under the hypothesis of no difference the sum of a cluster's differences is as likely to have the
    /// other sign. The p-value is exact for all such changes of sign; with every prompt in a cluster of its own it
    /// is McNemar's. Copies within a cluster do not lower it.
    ///
    /// # Errors
    ///
    /// As [`McNemar::new`], and for a cluster list of another length.
    pub fn clustered(
        first: &[Score],
        second: &[Score],
        clusters: &[usize],
    ) -> Result<Self, MetricError> {
        let test = Self::new(first, second)?;
        check_clusters(first.len(), clusters)?;
        let mut sums = std::collections::BTreeMap::<usize, i64>::new();
        for ((a, b), cluster) in first.iter().zip(second).zip(clusters) {
            if let (Some(a), Some(b)) = (a.value, b.value) {
                *sums.entry(*cluster).or_default() += (b - a) as i64;
            }
        }
        let sums: Vec<i64> = sums.into_values().filter(|sum| *sum != 0).collect();
        Ok(Self {
            p_value: sign_change_p_value(&sums),
            ..test
        })
    }
}

/// The share of all choices of signs with which the sum is at least as far from 0.
fn sign_change_p_value(sums: &[i64]) -> f64 {
    let observed = sums.iter().sum::<i64>().unsigned_abs() as usize;
    let reach: usize = sums.iter().map(|sum| sum.unsigned_abs() as usize).sum();
    // Entry i: the chance that the positive ones sum to i. The sum is then 2 i - reach.
    let mut chances = vec![0.0; reach + 1];
    if let Some(none) = chances.first_mut() {
        *none = 1.0;
    }
    for sum in sums {
        let step = sum.unsigned_abs() as usize;
        let moved = chances.clone();
        let before = std::iter::repeat_n(&0.0, step).chain(&moved);
        for (chance, before) in chances.iter_mut().zip(before) {
            *chance = 0.5 * *chance + 0.5 * before;
        }
    }
    let far = (0..).zip(&chances).filter(|(positive, _)| {
        let twice: usize = 2 * positive;
        twice.abs_diff(reach) >= observed
    });
    far.map(|(_, chance)| chance).sum::<f64>().min(1.0)
}

fn is_yes(index: usize, score: &Score) -> Result<Option<bool>, MetricError> {
    match score.value {
        None => Ok(None),
        Some(1.0) => Ok(Some(true)),
        Some(0.0) => Ok(Some(false)),
        Some(value) => Err(MetricError::NotBinary { index, value }),
    }
}

/// min(1, 2 P(X <= min(b, c))) for X binomial with b + c fair coins.
pub(crate) fn exact_p_value(b: usize, c: usize) -> f64 {
    let n = (b + c) as f64;
    let mut log_term = -n * std::f64::consts::LN_2;
    let mut tail = 0.0;
    // In logarithms: 2^-n leaves the range of f64 at 1,075 coins.
    for k in 0..=b.min(c) {
        tail += log_term.exp();
        log_term += ((n - k as f64) / (k as f64 + 1.0)).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_counted() {
        let scores = |bits: &[Option<bool>]| -> Vec<Score> {
            bits.iter().copied().map(Score::from).collect()
        };
        let (y, n) = (Some(true), Some(false));
        let a = scores(&[y, y, y, n, n, n, None, y]);
        let b = scores(&[y, n, n, y, n, n, y, None]);
        let test = McNemar::new(&a, &b).unwrap();
        assert_eq!(
            (test.both, test.only_first, test.only_second, test.neither),
            (1, 2, 1, 2)
        );
        assert_eq!(test.num_unscored, 2);
        assert_eq!(test.p_value, 1.0);
        let swapped = McNemar::new(&b, &a).unwrap();
        assert_eq!((swapped.only_first, swapped.only_second), (1, 2));
        assert_eq!(swapped.p_value, test.p_value);
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let a = [true, false, true].map(Score::binary);
        assert_eq!(McNemar::new(&a, &a).unwrap().p_value, 1.0);
    }

    #[test]
    fn many_coins_do_not_underflow() {
        assert_eq!(exact_p_value(3000, 3000), 1.0);
        let p = exact_p_value(1000, 1200);
        assert!(p > 1e-5 && p < 1e-4, "{p}");
    }

    #[test]
    fn clusters_of_one_are_mcnemars() {
        for (b, c) in [(0, 0), (1, 0), (5, 0), (3, 9), (7, 7), (40, 62), (0, 200)] {
            let sums: Vec<i64> = [vec![1; c], vec![-1; b]].concat();
            let (got, expected) = (sign_change_p_value(&sums), exact_p_value(b, c));
            assert!(
                (got - expected).abs() <= 1e-12 * expected,
                "{b} {c}: {got} {expected}"
            );
        }
    }

    #[test]
    fn copies_in_clusters_do_not_lower_the_p_value() {
        let start = [false; 12].map(Score::binary);
        let mut tuned = start;
        tuned[..6].fill(Score::binary(true));
        let clusters: Vec<usize> = (0..12).collect();
        let once = McNemar::clustered(&start, &tuned, &clusters).unwrap();
        assert_eq!(once.p_value, 0.03125);
        let twice =
            McNemar::clustered(&start.repeat(2), &tuned.repeat(2), &clusters.repeat(2)).unwrap();
        assert_eq!(twice.p_value, once.p_value);
        assert_eq!(twice.only_second, 12);
        // One cluster of all: a single coin.
        let one = McNemar::clustered(&start, &tuned, &[3; 12]).unwrap();
        assert_eq!(one.p_value, 1.0);
        // Ups and downs within a cluster cancel.
        let (y, n) = (Score::binary(true), Score::binary(false));
        let mixed = McNemar::clustered(&[y, n, n], &[n, y, Score::UNSCORED], &[0, 0, 1]);
        assert_eq!(mixed.unwrap().p_value, 1.0);
        assert!(McNemar::clustered(&[y], &[y], &[]).is_err());
    }

    #[test]
    fn bad_input_is_named() {
        let a = [Score::binary(true)];
        let error = McNemar::new(&a, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "scores of the second model: expected 1 entries, got 0"
        );
        assert!(matches!(
            McNemar::new(&[], &[]),
            Err(MetricError::Empty { .. })
        ));
        let error = McNemar::new(&a, &[Score::new(2.0)]).unwrap_err();
        assert_eq!(error.to_string(), "score 0 is 2, expected 0 or 1");
    }
}
