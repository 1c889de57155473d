use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use crate::{Generation, Prompt, SamplingParams};

/// Something that continues prompts.
pub trait Generator {
    /// Continues every prompt: one [`Generation`] for each, in order, each with `params.n`
    /// completions.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a prompt cannot be rendered or is too long, or when the model fails.
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<T: Generator + ?Sized> Generator for $wrapper {
            fn generate(
                &self,
                prompts: &[Prompt],
                params: &SamplingParams,
            ) -> Result<Vec<Generation>, ModelError> {
                (**self).generate(prompts, params)
            }
        }
    )*};
}
forward!(&T, Box<T>, Rc<T>, Arc<T>);

/// A model could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The chat template refused the messages.
    #[error("prompt {index}: the chat template failed: {reason}")]
    Template {
        /// Position in the batch.
        index: usize,
        /// The template's own words.
        reason: String,
    },
    /// A text or prompt is not usable: empty, or without a message.
    #[error("input {index}: {reason}")]
    InvalidInput {
        /// Position in the batch.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// The prompt and what it may generate do not fit the model's context.
    #[error("input {index} has {num_tokens} tokens, the limit is {limit}")]
    TooLong {
        /// Position in the batch.
        index: usize,
        /// Its length in tokens.
        num_tokens: usize,
        /// The longest that fits.
        limit: usize,
    },
    /// The model computed something that is not a number.
    #[error("the model produced a non-finite {what} for input {index}")]
    NonFinite {
        /// Position in the batch.
        index: usize,
        /// The quantity.
        what: &'static str,
    },
    /// The device, the tokenizer, a server: see the source.
    #[error("{context}")]
    Backend {
        /// What was being done.
        context: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ModelError {
    /// The error of a call with some of a batch's inputs, as one of the whole batch: `place` tells where
    /// in the batch an input of the call was.
    #[must_use]
    pub fn placed(mut self, place: impl Fn(usize) -> usize) -> Self {
        match &mut self {
            Self::Template { index, .. }
            | Self::InvalidInput { index, .. }
            | Self::TooLong { index, .. }
            | Self::NonFinite { index, .. } => *index = place(*index),
            Self::Backend { .. } => {}
        }
        self
    }

    /// Wraps a cause.
    pub fn backend(
        context: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Backend {
            context: context.into(),
            source: source.into(),
        }
    }
}
