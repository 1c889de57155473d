use serde::{Deserialize, Serialize};

/// Which tokens enter the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossScope {
    /// Those that the assistant writes, with the token that ends its turn.
    #[default]
    AssistantOnly,
    /// All but the first. This also trains the model to write what users write.
    WholeSequence,
}

/// How records become training examples.
///
/// # Source
///
/// The method's fine-tuning stage: `max_length` 1024. The loss over the assistant's tokens alone
/// is what its authors' configuration asks for (and their scripts do not do).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Tokens of an example; what comes after them is cut.
    pub max_length: usize,
    /// Which tokens enter the loss.
    pub loss_scope: LossScope,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            max_length: 1024,
            loss_scope: LossScope::default(),
        }
    }
}
