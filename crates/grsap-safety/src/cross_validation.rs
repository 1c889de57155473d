use std::collections::BTreeMap;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::Confusion;

/// How well a judge does on examples it was not fitted on.
///
/// Every example is predicted once, by a classifier fitted on the other folds, with a calibration
/// and a threshold chosen on the other folds too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitReport {
    /// Labelled examples.
    pub num_examples: usize,
    /// Positive ones among them.
    pub num_positive: usize,
    /// Parts that took turns to be held out.
    pub num_folds: usize,
    /// Held-out fraction that is judged rightly.
    pub accuracy: f64,
    /// What always giving the commoner answer would reach.
    pub majority_accuracy: f64,
    /// Of those called positive, the fraction that is; `None` where none is called so.
    pub precision: Option<f64>,
    /// Of the positive, the fraction called so.
    pub recall: f64,
    /// Held-out area under the ROC curve.
    pub auc: f64,
    /// Mean squared gap between held-out probability and truth: 0 is best, 0.25 is what 0.5 for all
    /// would get.
    pub brier: f64,
    /// What was said of what, over all.
    pub confusion: Confusion,
    /// The same for each source of examples; those without a source are under "".
    pub by_source: BTreeMap<String, Confusion>,
}

/// What was said of one example that the judge was not fitted on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldOut<'a> {
    pub(crate) probability: f64,
    pub(crate) called: bool,
    pub(crate) label: bool,
    pub(crate) source: &'a str,
}

impl FitReport {
    /// `None` unless both classes have an example.
    pub(crate) fn new(held_out: &[HeldOut<'_>], num_folds: usize) -> Option<Self> {
        let n = held_out.len();
        let labels: Vec<bool> = held_out.iter().map(|row| row.label).collect();
        let probabilities: Vec<f64> = held_out.iter().map(|row| row.probability).collect();
        let auc = auc(&probabilities, &labels)?;
        let num_positive = labels.iter().filter(|label| **label).count();
        let mut by_source: BTreeMap<String, Confusion> = BTreeMap::new();
        for row in held_out {
            by_source
                .entry(row.source.to_owned())
                .or_default()
                .add(row.called, row.label);
        }
        let confusion = Confusion::count(held_out.iter().map(|row| (row.called, row.label)));
        let gaps = held_out
            .iter()
            .map(|row| (row.probability - f64::from(u8::from(row.label))).powi(2));
        Some(Self {
            num_examples: n,
            num_positive,
            num_folds,
            accuracy: confusion.accuracy()?,
            majority_accuracy: num_positive.max(n - num_positive) as f64 / n as f64,
            precision: confusion.precision(),
            recall: confusion.recall()?,
            auc,
            brier: gaps.sum::<f64>() / n as f64,
            confusion,
            by_source,
        })
    }
}

/// The area under the ROC curve: the chance that a positive example scores above a negative one,
/// ties counting half.
///
/// `None` unless the lists are of one length and both classes have an example.
///
/// # Examples
///
/// ```
/// assert_eq!(grsap_safety::auc(&[0.1, 0.4, 0.4, 0.9], &[false, false, true, true]), Some(0.875));
/// assert_eq!(grsap_safety::auc(&[0.1], &[true]), None);
/// ```
pub fn auc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    if scores.len() != labels.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut negatives, mut positives, mut wins) = (0.0, 0.0, 0.0);
    for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = tied.iter().filter(|(_, label)| *label).count() as f64;
        let tied_negatives = tied.len() as f64 - tied_positives;
        wins += tied_positives * (negatives + 0.5 * tied_negatives);
        negatives += tied_negatives;
        positives += tied_positives;
    }
    (negatives > 0.0 && positives > 0.0).then(|| wins / (negatives * positives))
}

/// A fold for each example: both classes spread evenly, and examples of one group kept together, so
/// that no held-out example has a near copy among those fitted on.
///
/// Returns `None` if there are fewer groups than folds.
pub(crate) fn assign_folds<K: Ord>(
    groups: &[K],
    labels: &[bool],
    num_folds: usize,
    seed: u64,
) -> Option<Vec<usize>> {
    let mut members: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(index);
    }
    if num_folds < 2 || members.len() < num_folds {
        return None;
    }
    let mut order: Vec<(usize, Vec<usize>)> = members
        .into_values()
        .map(|indices| {
            let is_positive = |i: &&usize| labels.get(**i).copied().unwrap_or(false);
            (indices.iter().filter(is_positive).count(), indices)
        })
        .collect();
    let mut rng = grsap_core::rng(seed, "safety.folds", &[]);
    for last in (1..order.len()).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    // Large groups first, while there is still room to balance them; the sort is stable.
    order.sort_by_key(|(_, indices)| std::cmp::Reverse(indices.len()));
    let total_positive = labels.iter().filter(|label| **label).count() as f64;
    let total_negative = labels.len() as f64 - total_positive;
    // For each fold: [positive, negative].
    let mut filled = vec![[0_usize; 2]; num_folds];
    let mut folds = vec![0; labels.len()];
    for (num_positive, indices) in order {
        let num_negative = indices.len() - num_positive;
        // Where it adds least to the squared shares of both classes.
        let growth = |fold: &usize| {
            let [positive, negative] = filled.get(*fold).copied().unwrap_or_default();
            let share = |have: usize, more: usize, total: f64| {
                (more * (2 * have + more)) as f64 / (total * total).max(1.0)
            };
            share(positive, num_positive, total_positive)
                + share(negative, num_negative, total_negative)
        };
        let chosen = (0..num_folds).min_by(|a, b| growth(a).total_cmp(&growth(b)))?;
        if let Some([positive, negative]) = filled.get_mut(chosen) {
            *positive += num_positive;
            *negative += num_negative;
        }
        for index in indices {
            if let Some(fold) = folds.get_mut(index) {
                *fold = chosen;
            }
        }
    }
    Some(folds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_ordered_pairs() {
        let labels = [false, true, false, true];
        assert_eq!(auc(&[0.0, 1.0, 0.2, 0.9], &labels), Some(1.0));
        assert_eq!(auc(&[1.0, 0.0, 0.9, 0.2], &labels), Some(0.0));
        assert_eq!(auc(&[0.5; 4], &labels), Some(0.5));
        assert_eq!(auc(&[0.3, 0.2, 0.1, 0.4], &labels), Some(0.75));
        assert_eq!(auc(&[0.3, f64::NAN, 0.1, 0.4], &labels), None);
        assert_eq!(auc(&[0.3], &labels), None);
    }

    #[test]
    fn folds_are_stratified_and_keep_groups_together() {
        let labels: Vec<bool> = (0..100).map(|i| i % 4 == 0).collect();
        let groups: Vec<usize> = (0..100).map(|i| i / 2).collect();
        let folds = assign_folds(&groups, &labels, 5, 1).unwrap();
        for fold in 0..5 {
            let members: Vec<usize> = (0..100).filter(|i| folds[*i] == fold).collect();
            let positive = members.iter().filter(|i| labels[**i]).count();
            assert!((18..=22).contains(&members.len()), "{members:?}");
            assert!((4..=6).contains(&positive), "{positive}");
        }
        assert!((0..50).all(|group| folds[2 * group] == folds[2 * group + 1]));
        assert_eq!(assign_folds(&groups, &labels, 5, 1).unwrap(), folds);
        assert_ne!(assign_folds(&groups, &labels, 5, 2).unwrap(), folds);
    }

    #[test]
    fn too_few_groups_for_the_folds() {
        assert_eq!(
            assign_folds(&["a", "a", "b"], &[true, false, true], 3, 0),
            None
        );
        assert_eq!(assign_folds(&["a", "b"], &[true, false], 1, 0), None);
    }

    #[test]
    fn the_report_by_its_definitions() {
        let rows = |probabilities: &[f64], labels: &[bool]| -> Vec<HeldOut<'static>> {
            let pairs = probabilities.iter().zip(labels).enumerate();
            pairs
                .map(|(at, (probability, label))| HeldOut {
                    probability: *probability,
                    called: *probability >= 0.5,
                    label: *label,
                    source: if at < 2 { "a" } else { "b" },
                })
                .collect()
        };
        let held_out = rows(
            &[0.9, 0.8, 0.2, 0.1, 0.6],
            &[true, false, true, false, true],
        );
        let report = FitReport::new(&held_out, 2).unwrap();
        assert_eq!(report.accuracy, 0.6);
        assert_eq!(report.majority_accuracy, 0.6);
        assert_eq!(report.precision, Some(2.0 / 3.0));
        assert_eq!(report.recall, 2.0 / 3.0);
        assert_eq!(report.auc, 4.0 / 6.0);
        assert!((report.brier - (0.01 + 0.64 + 0.64 + 0.01 + 0.16) / 5.0).abs() < 1e-12);
        assert_eq!(report.by_source["a"].accuracy(), Some(0.5));
        assert_eq!(report.by_source["b"].false_negative, 1);
        assert_eq!(report.confusion.total(), 5);
        let report = FitReport::new(&rows(&[0.1, 0.2], &[true, false]), 2).unwrap();
        assert_eq!((report.precision, report.recall), (None, 0.0));
        assert_eq!(FitReport::new(&rows(&[0.1], &[true]), 2), None);
    }
}
