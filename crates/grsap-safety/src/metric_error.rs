/// A metric cannot be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// There is no sample at all: an accuracy of nothing is not 0.
    #[error("{metric} of no samples is undefined")]
    Empty {
        /// What was asked for.
        metric: &'static str,
    },
    /// A score is not a number.
    #[error("score {index} is {value}, expected a finite number")]
    NotFinite {
        /// Its position.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// A score of a proportion is neither 0 nor 1.
    #[error("score {index} is {value}, expected 0 or 1")]
    NotBinary {
        /// Its position.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// Two lists that belong together differ in length.
    #[error("{what}: expected {expected} entries, got {got}")]
    Length {
        /// What was being matched.
        what: &'static str,
        /// Length of the first.
        expected: usize,
        /// Length of the second.
        got: usize,
    },
    /// A setting is out of range.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was.
        got: String,
    },
    /// A vector has a value that is not a number.
    #[error("row {row} of the features has a value that is not finite")]
    Feature {
        /// Its position.
        row: usize,
    },
    /// An iteration came to no end.
    #[error("{what} did not converge")]
    NoConvergence {
        /// What was sought.
        what: &'static str,
    },
    /// The embedder failed.
    #[error("the embedder failed")]
    Embedder(#[from] grsap_core::ModelError),
    /// The judge failed.
    #[error("the judge failed")]
    Judge(#[from] grsap_core::GuardError),
}
