use serde::{Deserialize, Serialize};

/// An exchange that a person has judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledExchange {
    /// What the user asked.
    pub prompt: String,
    /// What the model answered.
    pub response: String,
    /// Whether the response is what the judge looks for: a refusal, or harmful.
    pub label: bool,
    /// The set it is from; held-out figures are given for each.
    #[serde(default)]
    pub source: String,
}
