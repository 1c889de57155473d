use grsap_core::{Prompt, digest_hex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BufferError;
use crate::{Provenance, StageReport};

/// How the rows of a [`ReplayBuffer`](crate::ReplayBuffer) came to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BufferInfo {
    /// The model and the files behind it.
    pub provenance: Provenance,
    /// The seed of the run.
    pub seed: u64,
    /// The settings of the run: a [`SynthesisConfig`](crate::SynthesisConfig), or those of a pipeline
    /// of your own.
    pub config: Value,
    /// What the model was asked for queries with, a prompt for each domain.
    pub extraction_prompts: Vec<Prompt>,
    /// SHA-256 of the evaluation prompts that queries must not be like, as a JSON list; `None` when
    /// there were none.
    pub evaluation_prompts_sha256: Option<String>,
    /// What each stage did, in order.
    pub stages: Vec<StageReport>,
}

/// The file beside the rows of a [`ReplayBuffer`](crate::ReplayBuffer).
///
/// It says nothing about time, which is in `timings.json`, so that the same seed gives the same
/// manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format_version: u32,
    /// The version of grsap-synth that wrote it.
    pub crate_version: String,
    /// The model and the files behind it.
    pub provenance: Provenance,
    /// The seed of the run.
    pub seed: u64,
    /// Rows in all.
    pub num_rows: usize,
    /// Rows that are safe to train on.
    pub num_trainable: usize,
    /// Trainable rows whose first answer was safe.
    pub num_easy: usize,
    /// Trainable rows whose answer was revised.
    pub num_hard: usize,
    /// Candidates dropped on the way.
    pub num_rejected: usize,
    /// Tokens that were sampled in all stages.
    pub num_tokens: usize,
    /// SHA-256 of `replay.jsonl`.
    pub sha256: String,
    /// SHA-256 of `rejected.jsonl`.
    pub rejected_sha256: String,
    /// What each stage did, in order.
    pub stages: Vec<StageReport>,
    /// The settings of the run: sampling, wording, thresholds, domains.
    pub config: Value,
    /// What the model was asked for queries with, a prompt for each domain.
    pub extraction_prompts: Vec<Prompt>,
    /// SHA-256 of the evaluation prompts, as a JSON list.
    pub evaluation_prompts_sha256: Option<String>,
    /// SHA-256 of this manifest as JSON without line ends, this field being empty.
    pub checksum: String,
}

impl Manifest {
    /// The version that this library writes and reads.
    pub const FORMAT_VERSION: u32 = 2;

    pub(crate) fn info(&self) -> BufferInfo {
        BufferInfo {
            provenance: self.provenance.clone(),
            seed: self.seed,
            config: self.config.clone(),
            extraction_prompts: self.extraction_prompts.clone(),
            evaluation_prompts_sha256: self.evaluation_prompts_sha256.clone(),
            stages: self.stages.clone(),
        }
    }

    /// What [`checksum`](Self::checksum) must be.
    pub(super) fn right_checksum(&self) -> Result<String, BufferError> {
        let bare = Self {
            checksum: String::new(),
            ..self.clone()
        };
        let bytes = serde_json::to_vec(&bare).map_err(|source| BufferError::Serialize {
            what: "the manifest",
            source,
        })?;
        Ok(digest_hex(&bytes))
    }
}

/// Sampled tokens that the stages counted.
pub(super) fn num_tokens(stages: &[StageReport]) -> usize {
    let counts = stages
        .iter()
        .filter_map(|stage| stage.counts.get("num_tokens"));
    counts.sum()
}
