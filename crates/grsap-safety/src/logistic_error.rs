/// A logistic regression cannot be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LogisticError {
    /// The features are not `[examples, dim]`.
    #[error("{num_values} features do not make {num_examples} rows of {dim}")]
    Shape {
        /// Labels given.
        num_examples: usize,
        /// Features of one example.
        dim: usize,
        /// Features given in all.
        num_values: usize,
    },
    /// A feature is not a number.
    #[error("row {row} has a feature that is not finite")]
    NotFinite {
        /// The example.
        row: usize,
    },
    /// Only one class has examples.
    #[error(
        "both classes need an example, got {num_positive} positive and {num_negative} negative"
    )]
    OneClass {
        /// Positive examples.
        num_positive: usize,
        /// Negative examples.
        num_negative: usize,
    },
    /// A setting is out of range.
    #[error("{field} must be finite and above 0, got {value}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it was.
        value: f64,
    },
    /// The optimum was not reached.
    #[error(
        "no convergence within {num_iterations} steps: the largest gradient is {gradient:e}, the tolerance {tolerance:e}"
    )]
    NotConverged {
        /// Newton steps allowed.
        num_iterations: usize,
        /// Largest entry of the gradient.
        gradient: f64,
        /// What it must not exceed.
        tolerance: f64,
    },
}
