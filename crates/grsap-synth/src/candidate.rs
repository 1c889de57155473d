use std::collections::BTreeMap;

use grsap_core::Verdict;
use grsap_data::Difficulty;
use serde::{Deserialize, Serialize};

/// A query on its way through the stages, with all that has been found out about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Domain number and sample number: "04-0017".
    pub id: String,
    /// The name of the domain that the model was asked about.
    pub domain: String,
    /// What a user might ask.
    pub query: String,
    /// The model's answer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Whether the model's first answer was safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,
    /// Whether `response` is known to be safe.
    #[serde(default)]
    pub is_safe: bool,
    /// Whether `response` was asked for again with an instruction to refuse.
    #[serde(default)]
    pub is_revised: bool,
    /// What the guard said about `response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What each filter measured, by its name; by its name, a dot and a word what it measured
    /// besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

impl Candidate {
    /// A query that nothing is known about yet.
    pub fn new(id: impl Into<String>, domain: impl Into<String>, query: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            domain: domain.into(),
            query: query.into(),
            response: None,
            difficulty: None,
            is_safe: false,
            is_revised: false,
            verdict: None,
            scores: BTreeMap::new(),
        }
    }
}

/// A candidate that a stage dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// The stage that dropped it.
    pub stage: String,
    /// Why, in a word that can be counted: "perplexity_high".
    pub reason: String,
    /// What the stage measured; `None` where there is nothing to measure or it was not finite.
    pub score: Option<f64>,
    /// The candidate as the stage received it, with what the stage measured besides the score.
    pub candidate: Candidate,
}

impl Rejected {
    /// A candidate dropped by `stage` for `reason`.
    pub fn new(
        stage: impl Into<String>,
        reason: impl Into<String>,
        score: Option<f64>,
        candidate: Candidate,
    ) -> Self {
        Self {
            stage: stage.into(),
            reason: reason.into(),
            score: score.filter(|score| score.is_finite()),
            candidate,
        }
    }
}
