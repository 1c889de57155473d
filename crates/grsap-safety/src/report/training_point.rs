use serde::{Deserialize, Serialize};

use super::ArmReport;

/// How a model did after so many examples of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPoint {
    /// Examples seen, each as often as it was seen.
    pub num_examples: usize,
    /// The checkpoint and its figures.
    pub figures: ArmReport,
}
