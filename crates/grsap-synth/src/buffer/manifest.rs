use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// What each stage did, in order.
    pub stages: Vec<StageReport>,
}

/// The file beside the rows of a [`ReplayBuffer`](crate::ReplayBuffer).
///
/// It says nothing about time, so that the same seed gives the same manifest.
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
    /// SHA-256 of `replay.jsonl`.
    pub sha256: String,
    /// SHA-256 of `rejected.jsonl`.
    pub rejected_sha256: String,
    /// What each stage did, in order.
    pub stages: Vec<StageReport>,
    /// The settings of the run.
    pub config: Value,
}

impl Manifest {
    /// The version that this library writes and reads.
    pub const FORMAT_VERSION: u32 = 1;
}
