use serde::{Deserialize, Serialize};

/// How much is computed at a time. On the CPU none of these changes a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Sequences that are decoded at the same time.
    pub max_batch: usize,
    /// Prompt tokens that one forward pass takes in (a longer prompt goes alone).
    pub max_prefill_tokens: usize,
    /// Bytes for keys and values, as far as fewer sequences at a time can keep them: the memory is
    /// allocated once for a call, and never grows. `None`: what `max_batch` needs.
    pub max_memory: Option<usize>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_batch: 32,
            max_prefill_tokens: 1024,
            max_memory: None,
        }
    }
}
