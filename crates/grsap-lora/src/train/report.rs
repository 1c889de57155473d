use std::collections::BTreeMap;

use serde::Serialize;

/// What one step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Finished steps, this one included.
    pub step: usize,
    /// Steps of the run.
    pub num_steps: usize,
    /// The loss before the step, in nats for each target token (or as weighted).
    pub loss: f64,
    /// The divergence from the starting model on replay, in nats for each target token (or as
    /// weighted), if the run has one and the step some replay. `loss` is without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// The learning rate of the step.
    pub lr: f64,
    /// The norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Examples of the step.
    pub num_examples: usize,
    /// The same for each group that examples of the run have.
    pub examples_by_group: BTreeMap<String, usize>,
    /// Tokens that went through the decoder.
    pub num_tokens: usize,
    /// Tokens that the loss is over.
    pub num_target_tokens: usize,
    /// The same for each group that examples of the run have.
    pub target_tokens_by_group: BTreeMap<String, usize>,
    /// How long the step took.
    pub seconds: f64,
}

impl StepReport {
    /// The share of the examples that are in a group.
    pub fn example_share(&self, group: &str) -> f64 {
        share(&self.examples_by_group, group, self.num_examples)
    }

    /// The share of the target tokens that are in a group.
    pub fn target_token_share(&self, group: &str) -> f64 {
        share(&self.target_tokens_by_group, group, self.num_target_tokens)
    }

    /// Tokens that went through the decoder in a second.
    pub fn tokens_per_second(&self) -> f64 {
        rate(self.num_tokens, self.seconds)
    }
}

/// What a run did, together with the runs that it continued.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// Finished steps.
    pub steps: usize,
    /// The loss of each, before the step.
    pub losses: Vec<f64>,
    /// Examples, counted as often as they were taken.
    pub num_examples: usize,
    /// The same for each group of the examples that have one.
    pub examples_by_group: BTreeMap<String, usize>,
    /// Tokens that went through the decoder.
    pub num_tokens: usize,
    /// Tokens that the losses were over.
    pub num_target_tokens: usize,
    /// The same for each group of the examples that have one.
    pub target_tokens_by_group: BTreeMap<String, usize>,
    /// How long the steps took.
    pub seconds: f64,
    /// Whether a callback ended the run before its last step.
    pub stopped: bool,
}

impl TrainReport {
    /// The share of the examples that were in a group.
    pub fn example_share(&self, group: &str) -> f64 {
        share(&self.examples_by_group, group, self.num_examples)
    }

    /// The share of the target tokens that were in a group.
    pub fn target_token_share(&self, group: &str) -> f64 {
        share(&self.target_tokens_by_group, group, self.num_target_tokens)
    }

    /// Tokens that went through the decoder in a second.
    pub fn tokens_per_second(&self) -> f64 {
        rate(self.num_tokens, self.seconds)
    }
}

fn rate(num_tokens: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        num_tokens as f64 / seconds
    } else {
        0.0
    }
}

fn share(by_group: &BTreeMap<String, usize>, group: &str, total: usize) -> f64 {
    let in_group = by_group.get(group).copied().unwrap_or(0);
    if total == 0 {
        0.0
    } else {
        in_group as f64 / total as f64
    }
}
