use grsap_core::ModelError;
use grsap_kernels::KernelError;

use super::callback::BoxError;
use super::checkpoint::CheckpointError;
use crate::adapter::AdapterError;
use crate::example::ExampleName;

/// A run could not start or go on. The decoder holds the values of the last finished step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A field of [`TrainerConfig`](crate::TrainerConfig) is out of range.
    #[error("{field}: {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to train on.
    #[error("there are no training examples")]
    NoExamples,
    /// An example does not fit into the model's context.
    #[error("example {example} has {num_tokens} tokens, the model takes at most {limit}")]
    TooLong {
        /// Which one.
        example: ExampleName,
        /// Its tokens.
        num_tokens: usize,
        /// The context.
        limit: usize,
    },
    /// A token of an example is not in the model's vocabulary.
    #[error("example {example} has the token {id}, the model's vocabulary has {vocab_size}")]
    UnknownToken {
        /// Which one.
        example: ExampleName,
        /// The token.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// The loss or the norm of the gradients is NaN or infinite. The step was not taken.
    #[error("step {step}: the {what} is not finite; examples {}", list(examples))]
    NonFinite {
        /// "loss", "divergence" or "gradient norm".
        what: &'static str,
        /// The step, counted from 1 as in [`StepReport`](crate::StepReport); 0 outside a run.
        step: usize,
        /// The examples it comes from: those with such a loss, or all of the step's.
        examples: Vec<ExampleName>,
    },
    /// A schedule gave a rate that cannot be.
    #[error("step {step}: the schedule gives the learning rate {lr}")]
    LearningRate {
        /// The step, counted from 1.
        step: usize,
        /// The rate.
        lr: f64,
    },
    /// Parameters and gradients do not belong together.
    #[error("the optimiser has the shapes {expected:?}, got {got:?}")]
    Shapes {
        /// Of the parameters it was made for.
        expected: Vec<[usize; 2]>,
        /// Of what it was given.
        got: Vec<[usize; 2]>,
    },
    /// All weights are to be trained, but an adapter is on one of them.
    #[error("an adapter is on {projection}: merge or detach it before all weights are trained")]
    HasAdapter {
        /// The first projection that has one.
        projection: String,
    },
    /// The adapters are missing, do not fit or could not be read.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The forward pass refused its input.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Held-out examples could not be scored.
    #[error(transparent)]
    Scoring(#[from] ModelError),
    /// A checkpoint could not be written, read or continued.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A callback failed.
    #[error("a callback failed at step {step}")]
    Callback {
        /// Finished steps.
        step: usize,
        /// What it says.
        #[source]
        source: BoxError,
    },
}

impl TrainError {
    pub(super) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Config {
            field,
            reason: reason.into(),
        }
    }
}

fn list(examples: &[ExampleName]) -> String {
    let names: Vec<String> = examples.iter().map(ExampleName::to_string).collect();
    names.join(", ")
}
