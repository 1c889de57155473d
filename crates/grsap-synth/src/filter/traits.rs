use grsap_core::ModelError;

use crate::{Candidate, Filtered, TemplateError};

/// A stage that drops candidates and says why.
pub trait Filter {
    /// Its name in reports, and the key of its score in [`Candidate::scores`].
    fn name(&self) -> &'static str;

    /// Parts `candidates` into kept and dropped ones; both keep their order.
    ///
    /// # Errors
    ///
    /// [`FilterError`] when a model fails or measures something that is not a number.
    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError>;
}

impl<F: Filter + ?Sized> Filter for &F {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        (**self).apply(candidates)
    }
}

impl<F: Filter + ?Sized> Filter for Box<F> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        (**self).apply(candidates)
    }
}

/// A filter could not be made or could not judge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The model failed.
    #[error("the model failed")]
    Model(#[from] ModelError),
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model returned another number of results than it was asked for.
    #[error("{expected} {what} were expected, got {got}")]
    Length {
        /// What was returned.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// An embedding is not a unit vector of finite numbers.
    #[error("the embedding of {of} has length {norm}, expected 1")]
    Embedding {
        /// Whose it is.
        of: String,
        /// Its length.
        norm: f32,
    },
    /// A setting is out of range.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
}

/// An error unless `value` is in [`low`, `high`].
pub(super) fn in_range(
    field: &'static str,
    value: f64,
    (low, high): (f64, f64),
    expected: &'static str,
) -> Result<(), FilterError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(FilterError::Config {
        field,
        expected,
        got: value.to_string(),
    })
}
