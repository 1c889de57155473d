use grsap_core::{SamplingConfig, SamplingParams};
use serde::{Deserialize, Serialize};

use crate::SynthError;

/// How a stage samples. The rest of [`SamplingConfig`] follows from the stage: the number of
/// samples, the stop texts, the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Keep the smallest set of tokens whose probabilities reach this sum.
    pub top_p: f64,
    /// Keep at most this many tokens.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// The most tokens of one completion.
    pub max_new_tokens: usize,
}

impl StageSampling {
    pub(crate) fn params(
        &self,
        stage: &'static str,
        n: usize,
        stop: Vec<String>,
        seed: u64,
    ) -> Result<SamplingParams, SynthError> {
        SamplingParams::new(SamplingConfig {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_new_tokens: self.max_new_tokens,
            n,
            stop,
            seed,
        })
        .map_err(|source| SynthError::Sampling { stage, source })
    }
}
