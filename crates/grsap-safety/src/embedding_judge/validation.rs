use crate::PlattScaling;

/// What is chosen on validation: how scores become probabilities, and from which one on the judge
/// says yes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Calibrated {
    pub(super) platt: PlattScaling,
    pub(super) threshold: f64,
}

impl Calibrated {
    /// Chooses both on scores of examples that the classifier was not fitted on. `None` where one
    /// class has no example.
    pub(super) fn choose(scores: &[f64], labels: &[bool], threshold: Option<f64>) -> Option<Self> {
        let platt = PlattScaling::fit(scores, labels)?;
        let probabilities: Vec<f64> = scores.iter().map(|s| platt.probability(*s)).collect();
        let threshold = match threshold {
            Some(threshold) => threshold,
            None => best_threshold(&probabilities, labels)?,
        };
        Some(Self { platt, threshold })
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        self.platt.probability(score)
    }
}

/// The threshold with the greatest mean of recall on both classes (Youden's J), halfway between two
/// neighbouring probabilities; of equally good ones the one nearest to 0.5.
fn best_threshold(probabilities: &[f64], labels: &[bool]) -> Option<f64> {
    let num_positive = labels.iter().filter(|label| **label).count();
    let num_negative = labels.len() - num_positive;
    if num_positive == 0 || num_negative == 0 {
        return None;
    }
    let mut pairs: Vec<(f64, bool)> = probabilities
        .iter()
        .copied()
        .zip(labels.iter().copied())
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Below every probability all are called positive.
    let (mut below_positive, mut below_negative) = (0_usize, 0_usize);
    let mut best: Option<(i128, f64)> = None;
    let mut groups = pairs.chunk_by(|a, b| a.0 == b.0).peekable();
    while let Some(group) = groups.next() {
        let positive = group.iter().filter(|(_, label)| *label).count();
        below_positive += positive;
        below_negative += group.len() - positive;
        let (Some(low), Some(high)) = (
            group.first().map(|pair| pair.0),
            groups
                .peek()
                .and_then(|next| next.first())
                .map(|pair| pair.0),
        ) else {
            break;
        };
        // J times both class sizes: whole numbers compare exactly.
        let gain =
            (below_negative * num_positive) as i128 - (below_positive * num_negative) as i128;
        let middle = f64::midpoint(low, high);
        let is_better = best.is_none_or(|(best_gain, best_middle)| {
            let distance = |threshold: f64| (threshold - 0.5).abs();
            gain > best_gain || (gain == best_gain && distance(middle) < distance(best_middle))
        });
        if is_better {
            best = Some((gain, middle));
        }
    }
    // One probability for all: nothing can be told apart.
    Some(best.map_or(0.5, |(_, threshold)| threshold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_the_classes_best() {
        let labels = [false, false, false, true, true];
        let best = |probabilities: &[f64]| best_threshold(probabilities, &labels);
        let near = |got: Option<f64>, expected: f64| (got.unwrap() - expected).abs() < 1e-12;
        assert!(near(best(&[0.1, 0.2, 0.3, 0.6, 0.9]), 0.45));
        // A rare class weighs as much as a common one.
        assert!(near(best(&[0.1, 0.2, 0.8, 0.6, 0.9]), 0.4));
        // Equally good: the one nearer to one half.
        assert!(near(
            best_threshold(&[0.1, 0.3, 0.5, 0.7], &[false, true, false, true]),
            0.6
        ));
        assert_eq!(best(&[0.2; 5]), Some(0.5));
        assert_eq!(best_threshold(&[0.2], &[true]), None);
    }

    #[test]
    fn a_given_threshold_stays() {
        let chosen = Calibrated::choose(&[0.0, 1.0], &[false, true], Some(0.9)).unwrap();
        assert_eq!(chosen.threshold, 0.9);
        assert_eq!(Calibrated::choose(&[0.0, 1.0], &[true, true], None), None);
    }
}
