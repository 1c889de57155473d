use serde::{Deserialize, Serialize};

use crate::LogisticError;

/// Settings of a [`LogisticRegression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticConfig {
    /// Inverse strength of the L2 penalty, as in scikit-learn: larger fits closer.
    pub c: f64,
    /// Weigh both classes alike, however many examples each has.
    pub balanced: bool,
    /// Newton steps before it gives up.
    pub max_iterations: usize,
    /// It has converged when no entry of the gradient, per example, is larger.
    pub tolerance: f64,
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self {
            c: 1.0,
            balanced: false,
            max_iterations: 100,
            tolerance: 1e-10,
        }
    }
}

/// A linear classifier that gives probabilities.
///
/// Fitted by Newton steps whose linear systems are solved by conjugate gradients, in f64, in a fixed
/// order: the same data give the same bits.
///
/// # Examples
///
/// ```
/// use grsap_safety::{LogisticConfig, LogisticRegression};
///
/// let model = LogisticRegression::fit(
///     &[-2.0, -1.0, 1.0, 2.0],
///     1,
///     &[false, false, true, true],
///     &LogisticConfig::default(),
/// )?;
/// assert!(model.probability(&[3.0]) > 0.9 && model.probability(&[-3.0]) < 0.1);
/// # Ok::<(), grsap_safety::LogisticError>(())
/// ```
///
/// # Source
///
/// The objective of scikit-learn's `LogisticRegression`: `c` times the summed log-loss plus half the
/// squared norm of the weights; the intercept is not penalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticRegression {
    /// One weight for each feature.
    pub weights: Vec<f64>,
    /// The log-odds at the origin.
    pub intercept: f64,
}

impl LogisticRegression {
    /// Fits the rows of `features` to `labels`.
    ///
    /// # Shapes
    ///
    /// `features` is `[labels, dim]`, row-major.
    ///
    /// # Errors
    ///
    /// [`LogisticError`] for shapes that do not fit, values that are not finite, a class without an
    /// example, settings out of range, or a fit that does not converge.
    pub fn fit(
        features: &[f64],
        dim: usize,
        labels: &[bool],
        config: &LogisticConfig,
    ) -> Result<Self, LogisticError> {
        let problem = Problem::new(features, dim, labels, config)?;
        // Entry `dim` is the intercept.
        let mut theta = vec![0.0; dim + 1];
        let mut loss = problem.loss(&theta);
        for _ in 0..config.max_iterations {
            let (gradient, curvature) = problem.gradient(&theta);
            if max_abs(&gradient) <= problem.tolerance {
                return Ok(Self::from_theta(theta));
            }
            let step = problem.solve(&curvature, &gradient);
            let slope = -dot(&gradient, &step);
            let mut scale = 1.0;
            loop {
                let candidate: Vec<f64> = theta
                    .iter()
                    .zip(&step)
                    .map(|(value, step)| value - scale * step)
                    .collect();
                let candidate_loss = problem.loss(&candidate);
                // Near the optimum the gain drowns in rounding; the step is then right as it is.
                let noise = 1e-13 * loss.abs();
                if candidate_loss <= loss + 1e-4 * scale * slope + noise {
                    theta = candidate;
                    loss = candidate_loss;
                    break;
                }
                scale *= 0.5;
                if scale < 1e-12 {
                    return Err(problem.not_converged(config.max_iterations, &gradient));
                }
            }
        }
        let (gradient, _) = problem.gradient(&theta);
        if max_abs(&gradient) <= problem.tolerance {
            return Ok(Self::from_theta(theta));
        }
        Err(problem.not_converged(config.max_iterations, &gradient))
    }

    fn from_theta(mut theta: Vec<f64>) -> Self {
        let intercept = theta.pop().unwrap_or_default();
        Self {
            weights: theta,
            intercept,
        }
    }

    /// The log-odds of the positive class. Features beyond the weights are passed over.
    pub fn decision(&self, features: &[f64]) -> f64 {
        self.intercept + dot(&self.weights, features)
    }

    /// The probability of the positive class.
    pub fn probability(&self, features: &[f64]) -> f64 {
        sigmoid(self.decision(features))
    }
}

struct Problem<'a> {
    features: &'a [f64],
    dim: usize,
    labels: &'a [bool],
    /// `c`, times the class weight: for the negative class and the positive.
    weight: [f64; 2],
    tolerance: f64,
}

impl<'a> Problem<'a> {
    fn new(
        features: &'a [f64],
        dim: usize,
        labels: &'a [bool],
        config: &LogisticConfig,
    ) -> Result<Self, LogisticError> {
        for (field, value) in [("c", config.c), ("tolerance", config.tolerance)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(LogisticError::Config { field, value });
            }
        }
        if dim == 0 || labels.len().checked_mul(dim) != Some(features.len()) {
            return Err(LogisticError::Shape {
                num_examples: labels.len(),
                dim,
                num_values: features.len(),
            });
        }
        if let Some(index) = features.iter().position(|value| !value.is_finite()) {
            return Err(LogisticError::NotFinite { row: index / dim });
        }
        let num_positive = labels.iter().filter(|label| **label).count();
        let num_negative = labels.len() - num_positive;
        if num_positive == 0 || num_negative == 0 {
            return Err(LogisticError::OneClass {
                num_positive,
                num_negative,
            });
        }
        let class_weight = |count: usize| {
            if config.balanced {
                labels.len() as f64 / (2.0 * count as f64)
            } else {
                1.0
            }
        };
        Ok(Self {
            features,
            dim,
            labels,
            weight: [
                config.c * class_weight(num_negative),
                config.c * class_weight(num_positive),
            ],
            tolerance: config.tolerance * config.c * labels.len() as f64,
        })
    }

    fn rows(&self) -> impl Iterator<Item = (&[f64], f64, f64)> {
        let [negative, positive] = self.weight;
        self.features
            .chunks_exact(self.dim)
            .zip(self.labels)
            .map(move |(row, label)| {
                if *label {
                    (row, 1.0, positive)
                } else {
                    (row, 0.0, negative)
                }
            })
    }

    fn log_odds(&self, theta: &[f64], row: &[f64]) -> f64 {
        dot(theta, row) + theta.get(self.dim).copied().unwrap_or_default()
    }

    fn loss(&self, theta: &[f64]) -> f64 {
        let penalty: f64 = theta.iter().take(self.dim).map(|w| w * w).sum();
        let data: f64 = self
            .rows()
            .map(|(row, label, weight)| {
                let z = self.log_odds(theta, row);
                weight * (softplus(z) - label * z)
            })
            .sum();
        data + 0.5 * penalty
    }

    /// The gradient, and the weight of each row in the Hessian.
    fn gradient(&self, theta: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut gradient = theta.to_vec();
        if let Some(intercept) = gradient.last_mut() {
            *intercept = 0.0;
        }
        let mut curvature = Vec::with_capacity(self.labels.len());
        for (row, label, weight) in self.rows() {
            let p = sigmoid(self.log_odds(theta, row));
            self.add_row(&mut gradient, weight * (p - label), row);
            curvature.push(weight * p * (1.0 - p));
        }
        (gradient, curvature)
    }

    fn add_row(&self, target: &mut [f64], factor: f64, row: &[f64]) {
        for (value, x) in target.iter_mut().zip(row) {
            *value += factor * x;
        }
        if let Some(intercept) = target.get_mut(self.dim) {
            *intercept += factor;
        }
    }

    fn hessian_times(&self, curvature: &[f64], vector: &[f64]) -> Vec<f64> {
        let mut product = vector.to_vec();
        if let Some(intercept) = product.last_mut() {
            *intercept = 0.0;
        }
        for ((row, _, _), curvature) in self.rows().zip(curvature) {
            self.add_row(&mut product, curvature * self.log_odds(vector, row), row);
        }
        product
    }

    /// Solves Hessian · x = gradient by conjugate gradients.
    fn solve(&self, curvature: &[f64], gradient: &[f64]) -> Vec<f64> {
        let mut x = vec![0.0; gradient.len()];
        let mut residual = gradient.to_vec();
        let mut direction = gradient.to_vec();
        let mut squared = dot(&residual, &residual);
        // Loose far from the optimum, tight near it: the outer convergence stays quadratic.
        let norm = squared.sqrt();
        let target = norm * norm.sqrt().min(0.1);
        for _ in 0..10 * gradient.len() {
            if squared.sqrt() <= target {
                break;
            }
            let product = self.hessian_times(curvature, &direction);
            let denominator = dot(&direction, &product);
            if denominator <= 0.0 {
                break;
            }
            let alpha = squared / denominator;
            for ((x, r), (d, p)) in x
                .iter_mut()
                .zip(&mut residual)
                .zip(direction.iter().zip(&product))
            {
                *x += alpha * d;
                *r -= alpha * p;
            }
            let next = dot(&residual, &residual);
            let beta = next / squared;
            for (d, r) in direction.iter_mut().zip(&residual) {
                *d = r + beta * *d;
            }
            squared = next;
        }
        x
    }

    fn not_converged(&self, num_iterations: usize, gradient: &[f64]) -> LogisticError {
        LogisticError::NotConverged {
            num_iterations,
            gradient: max_abs(gradient),
            tolerance: self.tolerance,
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| value.abs().max(max))
}

pub(crate) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        let e = z.exp();
        e / (1.0 + e)
    }
}

/// ln(1 + e^z) without overflow.
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_input_is_named() {
        let config = LogisticConfig::default();
        let fit = |x: &[f64], dim, y: &[bool], config: &LogisticConfig| {
            LogisticRegression::fit(x, dim, y, config)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            fit(&[1.0; 3], 2, &[true, false], &config),
            "3 features do not make 2 rows of 2"
        );
        assert_eq!(
            fit(&[], 0, &[], &config),
            "0 features do not make 0 rows of 0"
        );
        assert_eq!(
            fit(&[1.0, f64::NAN], 1, &[true, false], &config),
            "row 1 has a feature that is not finite"
        );
        assert_eq!(
            fit(&[1.0, 2.0], 1, &[true, true], &config),
            "both classes need an example, got 2 positive and 0 negative"
        );
        let bad = LogisticConfig {
            c: 0.0,
            ..config.clone()
        };
        assert_eq!(
            fit(&[1.0, 2.0], 1, &[true, false], &bad),
            "c must be finite and above 0, got 0"
        );
        let hasty = LogisticConfig {
            max_iterations: 1,
            ..config
        };
        let error = fit(&[-1.0, 2.0, 3.0], 1, &[true, false, true], &hasty);
        assert!(
            error.starts_with("no convergence within 1 steps"),
            "{error}"
        );
    }

    #[test]
    fn separable_data_converge_under_the_penalty() {
        let config = LogisticConfig {
            c: 1e6,
            ..LogisticConfig::default()
        };
        let model = LogisticRegression::fit(&[-1.0, 1.0], 1, &[false, true], &config).unwrap();
        assert!(model.weights[0] > 5.0 && model.weights[0].is_finite());
        assert!(model.intercept.abs() < 1e-6);
    }

    #[test]
    fn far_out_points_do_not_overflow() {
        let config = LogisticConfig::default();
        let x = [-1e6, 1e6, 5.0, -4.0];
        let model = LogisticRegression::fit(&x, 1, &[false, true, true, false], &config).unwrap();
        assert!(model.probability(&[1e300]) == 1.0 && model.probability(&[-1e300]) == 0.0);
    }
}
