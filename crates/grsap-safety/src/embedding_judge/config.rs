use serde::{Deserialize, Serialize};

use super::JudgeError;
use crate::LogisticConfig;

/// What an [`EmbeddingJudge`](crate::EmbeddingJudge) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeTarget {
    /// Refusals. Of any other response it cannot know whether it is harmful.
    Refusal,
    /// Harmful responses. It says nothing about refusals.
    Harm,
}

/// What of an exchange is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddedText {
    /// The response alone.
    Response,
    /// Prompt and response as one text, the prompt first. The embedder cuts long texts off.
    Joined,
    /// Prompt and response apart, their embeddings one behind the other: twice the weights.
    Pair,
}

/// Settings of an [`EmbeddingJudge`](crate::EmbeddingJudge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingJudgeConfig {
    /// What it looks for.
    pub target: JudgeTarget,
    /// What it reads.
    pub text: EmbeddedText,
    /// The calibrated probability from which it says yes, in (0, 1); `None` chooses the one with the
    /// best mean recall of both classes on validation.
    pub threshold: Option<f64>,
    /// Parts that take turns to be held out, at least 2.
    pub num_folds: usize,
    /// Fixes the folds.
    pub seed: u64,
    /// The classifier.
    pub logistic: LogisticConfig,
}

impl Default for EmbeddingJudgeConfig {
    /// Refusals, from the response alone, with a chosen threshold and 5 folds, both classes weighed
    /// alike.
    fn default() -> Self {
        Self {
            target: JudgeTarget::Refusal,
            text: EmbeddedText::Response,
            threshold: None,
            num_folds: 5,
            seed: 0,
            logistic: LogisticConfig {
                // Unit vectors of a few hundred entries: each is small, so the penalty must be.
                c: 10.0,
                balanced: true,
                ..LogisticConfig::default()
            },
        }
    }
}

impl EmbeddingJudgeConfig {
    pub(super) fn check(&self) -> Result<(), JudgeError> {
        if let Some(threshold) = self.threshold
            && !(threshold > 0.0 && threshold < 1.0)
        {
            return Err(JudgeError::Config {
                field: "threshold",
                expected: "in (0, 1)",
                got: threshold.to_string(),
            });
        }
        if self.num_folds < 2 {
            return Err(JudgeError::Config {
                field: "num_folds",
                expected: "at least 2",
                got: self.num_folds.to_string(),
            });
        }
        Ok(())
    }

    pub(super) fn num_features(&self, dim: usize) -> usize {
        match self.text {
            EmbeddedText::Response | EmbeddedText::Joined => dim,
            EmbeddedText::Pair => 2 * dim,
        }
    }
}
