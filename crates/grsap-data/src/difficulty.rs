use serde::{Deserialize, Serialize};

/// Whether the model answered a replay query safely by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficulty {
    /// The first response was not harmful.
    Easy,
    /// The first response was harmful, or the guard's opinion of it could not be read.
    Hard,
}
