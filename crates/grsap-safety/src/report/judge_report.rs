use grsap_core::Embedder;
use serde::{Deserialize, Serialize};

use crate::{EmbeddingJudge, FitReport};

/// A judge that the figures of a report rest on, and how far it can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeReport {
    /// What it is, such as `EmbeddingJudge` or a guard model's name.
    pub name: String,
    /// What it judges, such as `harm`.
    pub judges: String,
    /// How it judges, and what is known of it, in words.
    pub description: String,
    /// The probability from which on it says yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Its figures on examples that it was not fitted on; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<FitReport>,
}

impl JudgeReport {
    /// A judge without held-out figures.
    pub fn new(
        name: impl Into<String>,
        judges: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            judges: judges.into(),
            description: description.into(),
            threshold: None,
            certificate: None,
        }
    }

    /// The same with the threshold and the held-out figures of a fitted judge.
    #[must_use]
    pub fn with_certificate<E: Embedder>(mut self, judge: &EmbeddingJudge<E>) -> Self {
        self.threshold = Some(judge.threshold());
        self.certificate = Some(judge.report().clone());
        self
    }
}
