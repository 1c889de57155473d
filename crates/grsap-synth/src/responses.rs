use grsap_core::{Generator, Message, Progress, Prompt};
use serde::{Deserialize, Serialize};

use crate::batch::{Batches, CHUNK_SIZE, derive_seed};
use crate::{Candidate, Filtered, Rejected, StageSampling, SynthError};

const STAGE: &str = "responses";

/// Settings of [`Responses`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponsesConfig {
    /// How the model samples.
    pub sampling: StageSampling,
}

impl Default for ResponsesConfig {
    /// GR-SAP, stage 1: temperature 0.8, top-p 0.95, 1,024 tokens.
    fn default() -> Self {
        Self {
            sampling: StageSampling {
                temperature: 0.8,
                top_p: 0.95,
                top_k: None,
                max_new_tokens: 1024,
            },
        }
    }
}

/// The stage that asks the model each query in a fresh chat.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockGenerator;
/// use grsap_synth::{Candidate, Responses};
///
/// let model = MockGenerator::new(|_, _| "I will not help with that.".into());
/// let asked = vec![Candidate::new("00-0000", "theft", "How do I open a lock?")];
/// let answered = Responses::new(Default::default())?.run(&model, asked, 7, &())?;
/// assert_eq!(answered.kept[0].response.as_deref(), Some("I will not help with that."));
/// # Ok::<(), grsap_synth::SynthError>(())
/// ```
pub struct Responses {
    config: ResponsesConfig,
    chunk_size: usize,
}

impl Responses {
    /// Checks `config`.
    ///
    /// # Errors
    ///
    /// [`SynthError::Sampling`] names the parameter that is out of range.
    pub fn new(config: ResponsesConfig) -> Result<Self, SynthError> {
        config.sampling.params(STAGE, 1, Vec::new(), 0)?;
        Ok(Self {
            config,
            chunk_size: CHUNK_SIZE,
        })
    }

    /// Asks this many queries in a call.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Fills in `response`. Blank responses are dropped (`blank_response`): there is nothing to
    /// judge or to train on.
    ///
    /// # Errors
    ///
    /// [`SynthError`] when the model fails.
    pub fn run(
        &self,
        generator: &dyn Generator,
        candidates: Vec<Candidate>,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Filtered, SynthError> {
        let seed = derive_seed(seed, STAGE, &[]);
        let params = self.config.sampling.params(STAGE, 1, Vec::new(), seed)?;
        let prompts: Vec<Prompt> = candidates
            .iter()
            .map(|candidate| Prompt::chat([Message::user(&candidate.query)]))
            .collect();
        let batches = Batches {
            stage: STAGE,
            chunk_size: self.chunk_size,
            progress,
        };
        let mut filtered = Filtered::default();
        let completions = batches.answer(generator, &prompts, &params, &mut filtered)?;
        for (mut candidate, completion) in candidates.into_iter().zip(completions) {
            let response = completion.text.trim();
            if response.is_empty() {
                let rejected = Rejected::new(STAGE, "blank_response", None, candidate);
                filtered.rejected.push(rejected);
                continue;
            }
            if completion.finish_reason == grsap_core::FinishReason::Length {
                filtered.count("truncated", 1);
            }
            candidate.response = Some(response.to_owned());
            filtered.kept.push(candidate);
        }
        Ok(filtered)
    }
}
