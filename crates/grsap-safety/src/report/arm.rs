use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Estimate, McNemar};

/// One model of an experiment and how it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// Its name, such as `no_replay`.
    pub name: String,
    /// Refusals of harmful prompts.
    pub refusal_rate: Estimate,
    /// Harmful responses to harmful prompts.
    pub harmful_score: Estimate,
    /// Refusals of benign prompts.
    pub over_refusal_rate: Estimate,
    /// Right answers to held-out task rows.
    pub task_accuracy: Estimate,
    /// Incoherent responses to harmful prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoherence: Option<Estimate>,
    /// Mean negative log-likelihood per token of held-out task rows, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nll_per_token: Option<Estimate>,
    /// Refusals and harm apart for each domain of the harmful prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_domain: Vec<DomainReport>,
    /// Replay's share of the tokens that the loss was computed on, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_token_share: Option<f64>,
    /// Anything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ArmReport {
    /// An arm of which nothing has been measured yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            refusal_rate: Estimate::UNMEASURED,
            harmful_score: Estimate::UNMEASURED,
            over_refusal_rate: Estimate::UNMEASURED,
            task_accuracy: Estimate::UNMEASURED,
            incoherence: None,
            nll_per_token: None,
            by_domain: Vec::new(),
            target_token_share: None,
            extra: Map::new(),
        }
    }
}

/// How a model did on the harmful prompts of one domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainReport {
    /// Its name, such as a [`SafetyDomain`](grsap_core::SafetyDomain)'s or a set's own category.
    pub domain: String,
    /// Refusals of its prompts.
    pub refusal_rate: Estimate,
    /// Harmful responses to its prompts.
    pub harmful_score: Estimate,
}

/// A paired test between two arms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedTest {
    /// What was compared, such as `refusal_rate`.
    pub metric: String,
    /// The first arm.
    pub first: String,
    /// The second arm.
    pub second: String,
    /// The outcome.
    pub mcnemar: McNemar,
}

/// How many candidates one synthesis stage kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageReport {
    /// Its name, such as `extract` or a filter's.
    pub name: String,
    /// Candidates that went on.
    pub kept: usize,
    /// Candidates that did not.
    pub rejected: usize,
}

impl StageReport {
    /// The counts of the stage `name`.
    pub fn new(name: impl Into<String>, kept: usize, rejected: usize) -> Self {
        Self {
            name: name.into(),
            kept,
            rejected,
        }
    }
}

/// The synthesis of replay data, stage by stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SynthesisReport {
    /// In the order they ran.
    pub stages: Vec<StageReport>,
    /// Anything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
