use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// A request and the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// What the user asked.
    pub prompt: &'a str,
    /// What the model answered.
    pub response: &'a str,
}

/// A guard's opinion of one text. There are three values: a guard whose output cannot be read has
/// said neither safe nor unsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Safety {
    /// Not harmful.
    Safe,
    /// Harmful.
    Unsafe,
    /// The guard's output could not be read.
    Unparsed,
}

/// What a guard said about one exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the response is harmful.
    pub response: Safety,
    /// Whether the response refuses the request; `None` where the guard does not say.
    pub refusal: Option<bool>,
    /// The guard's own output, or its score, for the audit.
    pub raw: String,
}

/// A judge of exchanges.
pub trait Guard {
    /// One verdict for each exchange, in order.
    ///
    /// # Errors
    ///
    /// [`GuardError`] when the guard itself fails. Output that cannot be read is not an error but
    /// [`Safety::Unparsed`].
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<T: Guard + ?Sized> Guard for $wrapper {
            fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
                (**self).judge(exchanges)
            }
        }
    )*};
}
forward!(&T, Box<T>, Rc<T>, Arc<T>);

/// A guard failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The model behind it failed.
    #[error("the guard's model failed")]
    Model(#[from] ModelError),
    /// The guard was fitted on a prompt that it is asked to judge.
    #[error("the judge was fitted on the prompt of exchange {index}, so it cannot judge it")]
    FittedOn {
        /// Which exchange, counted from 0.
        index: usize,
    },
    /// The guard answered with another number of verdicts than it was asked for.
    #[error("the guard was given {expected} exchanges and returned {got} verdicts")]
    Length {
        /// Exchanges given.
        expected: usize,
        /// Verdicts returned.
        got: usize,
    },
}

impl GuardError {
    /// As [`ModelError::placed`].
    #[must_use]
    pub fn placed(self, place: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Model(error) => Self::Model(error.placed(place)),
            Self::FittedOn { index } => Self::FittedOn {
                index: place(index),
            },
            length @ Self::Length { .. } => length,
        }
    }
}
