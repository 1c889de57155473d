use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Message;

/// How a chat prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// The template opens a new assistant turn (`add_generation_prompt` in transformers).
    NewAssistant,
    /// The last message stays open and the model writes on from its last character
    /// (`continue_final_message` in transformers). The last message may be of any role.
    ContinueLast,
}

/// What a model is asked to continue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Plain text, without a chat template.
    Text(String),
    /// A chat, rendered by the model's own template.
    Chat {
        /// The turns so far.
        messages: Vec<Message>,
        /// How the prompt ends.
        turn: Turn,
    },
}

impl Prompt {
    /// A chat whose next turn is the assistant's.
    pub fn chat(messages: impl IntoIterator<Item = Message>) -> Self {
        Self::Chat {
            messages: messages.into_iter().collect(),
            turn: Turn::NewAssistant,
        }
    }

    /// A chat whose last message is left open (prefilled).
    pub fn prefilled(messages: impl IntoIterator<Item = Message>) -> Self {
        Self::Chat {
            messages: messages.into_iter().collect(),
            turn: Turn::ContinueLast,
        }
    }
}

/// For logs and mocks: one line for each turn. Not a chat template.
impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Chat { messages, .. } => {
                for (i, message) in messages.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{}: {}", message.role.as_str(), message.content)?;
                }
                Ok(())
            }
        }
    }
}
