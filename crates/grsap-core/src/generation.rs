use serde::{Deserialize, Serialize};

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn (an end-of-sequence token).
    Eos,
    /// One of [`stop`](crate::SamplingConfig::stop) appeared.
    Stop,
    /// [`max_new_tokens`](crate::SamplingConfig::max_new_tokens) was reached.
    Length,
}

/// One sampled continuation of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without the prompt, special tokens or the stop text.
    pub text: String,
    /// Tokens sampled, the one that ended the completion included.
    pub num_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// The completions of one prompt, [`n`](crate::SamplingConfig::n) of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// In the order of their sample index.
    pub completions: Vec<Completion>,
}
