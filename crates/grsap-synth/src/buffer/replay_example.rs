use std::collections::BTreeMap;

use grsap_data::{DataError, Difficulty, Record, Stratified};
use serde::{Deserialize, Serialize};

use crate::Candidate;

/// One row of a [`ReplayBuffer`](crate::ReplayBuffer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayExample {
    /// The id of the candidate.
    pub id: String,
    /// The domain that the model was asked about.
    pub domain: String,
    /// What a user might ask.
    pub query: String,
    /// The model's answer, the revised one where there is one.
    pub response: String,
    /// Whether the model's first answer was safe.
    pub difficulty: Difficulty,
    /// Whether the answer is known to be safe. Others are never trained on.
    pub is_safe: bool,
    /// Whether the answer was asked for with an instruction to refuse.
    pub is_revised: bool,
    /// What each filter measured.
    #[serde(default)]
    pub scores: BTreeMap<String, f64>,
}

/// How a row tells its difficulty to a sampler.
type IsHard = fn(&ReplayExample) -> bool;

impl ReplayExample {
    /// The row of a candidate; `None` unless it has been answered and judged.
    pub fn from_candidate(candidate: Candidate) -> Option<Self> {
        Some(Self {
            response: candidate.response?,
            difficulty: candidate.difficulty?,
            id: candidate.id,
            domain: candidate.domain,
            query: candidate.query,
            is_safe: candidate.is_safe,
            is_revised: candidate.is_revised,
            scores: candidate.scores,
        })
    }

    /// Whether the model's first answer was not safe.
    pub fn is_hard(&self) -> bool {
        self.difficulty == Difficulty::Hard
    }

    /// A sampler that takes `hard_ratio` hard rows where there are enough.
    ///
    /// # Errors
    ///
    /// [`DataError::Config`] when `hard_ratio` is not in [0, 1].
    pub fn sampler(hard_ratio: f64) -> Result<Stratified<IsHard>, DataError> {
        Stratified::new(hard_ratio, Self::is_hard as IsHard)
    }
}

impl From<ReplayExample> for Record {
    fn from(example: ReplayExample) -> Self {
        let mut record = Self::exchange(example.query, example.response)
            .with_id(example.id)
            .with_source("replay");
        record
            .metadata
            .insert("domain".into(), example.domain.into());
        record
    }
}
