use grsap_core::{GuardError, ModelError};

use crate::MetricError;

/// A model could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// It could not be loaded.
    #[error("{model} cannot be loaded")]
    Load {
        /// The model.
        model: String,
        /// The cause.
        source: ModelError,
    },
    /// It failed to answer.
    #[error("{model}: no answers to the {questions}")]
    Model {
        /// The model.
        model: String,
        /// What it was asked.
        questions: &'static str,
        /// The cause.
        source: ModelError,
    },
    /// The guard failed.
    #[error("{model}: the answers to the {questions} cannot be judged")]
    Guard {
        /// The model that gave the answers.
        model: String,
        /// What it was asked.
        questions: &'static str,
        /// The cause.
        source: GuardError,
    },
    /// A model or a guard returned another number of results than it was asked for.
    #[error("{model}: {expected} {what} were expected, got {got}")]
    Length {
        /// The model.
        model: String,
        /// What was returned.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A figure cannot be computed.
    #[error(transparent)]
    Metric(#[from] MetricError),
}
