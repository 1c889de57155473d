use serde::{Deserialize, Serialize};

use crate::logistic_regression::sigmoid;

/// Platt scaling: turns a score into a probability by a fitted sigmoid.
///
/// Fit it on scores of examples that the scorer was not fitted on.
///
/// # Examples
///
/// ```
/// use grsap_safety::PlattScaling;
///
/// let scores = [-2.0, -1.0, 0.5, -0.5, 1.0, 2.0];
/// let labels = [false, false, false, true, true, true];
/// let platt = PlattScaling::fit(&scores, &labels).ok_or("one class only")?;
/// assert!(platt.probability(3.0) > 0.7 && platt.probability(-3.0) < 0.3);
/// # Ok::<(), &str>(())
/// ```
///
/// # Source
///
/// Platt, Probabilistic outputs for support vector machines (1999), with his smoothed targets;
/// fitted by Newton steps as in Lin, Lin and Weng (2007). scikit-learn's `CalibratedClassifierCV`
/// (`method="sigmoid"`) has the same optimum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlattScaling {
    /// Log-odds for each unit of the score.
    pub slope: f64,
    /// Log-odds at score 0.
    pub intercept: f64,
}

const MAX_ITERATIONS: usize = 100;
const TOLERANCE: f64 = 1e-10;

impl PlattScaling {
    /// `None` unless scores and labels are of one length, the scores finite, and both classes there.
    pub fn fit(scores: &[f64], labels: &[bool]) -> Option<Self> {
        let num_positive = labels.iter().filter(|label| **label).count() as f64;
        let num_negative = labels.len() as f64 - num_positive;
        let is_usable = scores.len() == labels.len()
            && scores.iter().all(|score| score.is_finite())
            && num_positive > 0.0
            && num_negative > 0.0;
        if !is_usable {
            return None;
        }
        // Not quite 0 and 1, so that separable scores have an optimum too.
        let (high, low) = (
            (num_positive + 1.0) / (num_positive + 2.0),
            1.0 / (num_negative + 2.0),
        );
        let rows: Vec<(f64, f64)> = scores
            .iter()
            .zip(labels)
            .map(|(score, label)| (*score, if *label { high } else { low }))
            .collect();
        let mut best = Self {
            slope: 0.0,
            intercept: ((num_positive + 1.0) / (num_negative + 1.0)).ln(),
        };
        let mut loss = best.loss(&rows);
        for _ in 0..MAX_ITERATIONS {
            let [g0, g1, h00, h01, h11] = best.derivatives(&rows);
            if g0.abs().max(g1.abs()) < TOLERANCE * rows.len() as f64 {
                break;
            }
            let det = h00 * h11 - h01 * h01;
            let step = ((h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det);
            let mut scale = 1.0;
            let next = loop {
                let candidate = Self {
                    slope: best.slope - scale * step.0,
                    intercept: best.intercept - scale * step.1,
                };
                let candidate_loss = candidate.loss(&rows);
                if candidate_loss <= loss {
                    break Some((candidate, candidate_loss));
                }
                scale *= 0.5;
                if scale < 1e-10 {
                    break None; // the gain drowns in rounding: this is the optimum
                }
            };
            let Some(next) = next else { break };
            (best, loss) = next;
        }
        Some(best)
    }

    /// The probability that belongs to `score`.
    pub fn probability(&self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.intercept)
    }

    fn loss(&self, rows: &[(f64, f64)]) -> f64 {
        let terms = rows.iter().map(|(score, target)| {
            let z = self.slope * score + self.intercept;
            // log(1 + exp(z)) - target z, without overflow.
            z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z
        });
        terms.sum()
    }

    /// Gradient (2) and Hessian (3), with a ridge that keeps it solvable.
    fn derivatives(&self, rows: &[(f64, f64)]) -> [f64; 5] {
        let mut sums = [0.0, 0.0, 1e-12, 0.0, 1e-12];
        for (score, target) in rows {
            let p = self.probability(*score);
            let (gap, weight) = (p - target, p * (1.0 - p));
            let terms = [
                gap * score,
                gap,
                weight * score * score,
                weight * score,
                weight,
            ];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += term;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_give_the_share_of_the_class() {
        let platt = PlattScaling::fit(&[1.0; 4], &[true, false, false, false]).unwrap();
        // Smoothed targets: (2/3 + 3 * 1/5) / 4.
        assert!((platt.probability(1.0) - 0.316_666).abs() < 1e-4);
    }

    #[test]
    fn separable_scores_have_an_optimum() {
        let platt = PlattScaling::fit(&[-1.0, -2.0, 1.0, 2.0], &[false, false, true, true]);
        let platt = platt.unwrap();
        assert!(platt.slope.is_finite() && platt.slope > 0.0);
        assert!(platt.probability(1e300) <= 1.0 && platt.probability(-1e300) >= 0.0);
        // Scores the wrong way round are turned round.
        let platt = PlattScaling::fit(&[1.0, 2.0, -1.0], &[false, false, true]).unwrap();
        assert!(platt.slope < 0.0);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert_eq!(PlattScaling::fit(&[1.0], &[true]), None);
        assert_eq!(PlattScaling::fit(&[1.0], &[true, false]), None);
        assert_eq!(PlattScaling::fit(&[f64::NAN, 0.0], &[true, false]), None);
        assert_eq!(PlattScaling::fit(&[], &[]), None);
    }
}
