use std::ops::Range;

use grsap_core::{Message, Role};

use crate::chat_template::{ChatTemplate, TemplateError};
use crate::tokenizer::{ChatTokenizer, TokenizerError};

/// A chat as tokens, with those marked that the assistant writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingTokens {
    /// The whole chat, exactly as [`ChatTokenizer::encode`] gives it.
    pub input_ids: Vec<u32>,
    /// Whether each token is one that the assistant writes: its content and the token that ends
    /// its turn. Not shifted: `is_target[i]` speaks about `input_ids[i]`.
    pub is_target: Vec<bool>,
}

/// A chat could not be turned into a training example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingTokensError {
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// What the template writes before an assistant turn is not the start of the whole chat, so it
    /// cannot be told which part of the chat the assistant writes.
    #[error(
        "the chat template renders what comes before message {index} differently in the whole chat"
    )]
    NotPrefixStable {
        /// Position of the assistant's message.
        index: usize,
    },
}

impl TrainingTokens {
    /// Renders and encodes a chat and marks every assistant turn.
    ///
    /// A turn begins where the prompt for it would end (with its generation prompt), so what the
    /// model is trained to write is what it is later asked to write.
    ///
    /// # Errors
    ///
    /// [`TrainingTokensError::NotPrefixStable`] for a template that cannot be marked, or what the
    /// template and the tokenizer say.
    pub fn from_messages(
        messages: &[Message],
        template: &ChatTemplate,
        tokenizer: &ChatTokenizer,
    ) -> Result<Self, TrainingTokensError> {
        if messages.is_empty() {
            return Err(TemplateError::NoMessages.into());
        }
        let text = template.render_closed(messages)?;
        let tokens = tokenizer.encode_with_offsets(&text)?;
        let mut is_target = vec![false; tokens.len()];
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let turn = assistant_turn(messages, index, &text, template)?;
            mark(&tokens, &text, turn, tokenizer, &mut is_target);
        }
        Ok(Self {
            input_ids: tokens.into_iter().map(|(id, _)| id).collect(),
            is_target,
        })
    }

    /// How many tokens the assistant writes.
    pub fn num_targets(&self) -> usize {
        self.is_target.iter().filter(|target| **target).count()
    }
}

/// The bytes of `text` from the first that the assistant writes in message `index` up to where
/// the next message begins.
fn assistant_turn(
    messages: &[Message],
    index: usize,
    text: &str,
    template: &ChatTemplate,
) -> Result<Range<usize>, TrainingTokensError> {
    let unstable = || TrainingTokensError::NotPrefixStable { index };
    let before = messages.get(..index).unwrap_or_default();
    let with = messages.get(..=index).unwrap_or_default();
    let prompt = template.render_raw(before, true)?;
    if !text.starts_with(&prompt) {
        return Err(unstable());
    }
    let closed = template.render_closed(with)?;
    // A template may write more after the last message than after others (an open header, the end
    // of the sequence), so only what both have in common belongs to the turn.
    let common = text
        .bytes()
        .zip(closed.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    if common <= prompt.len() {
        return Err(unstable());
    }
    Ok(prompt.len()..common)
}

/// Marks the tokens inside `turn` up to its last end-of-turn token; without one, up to its last
/// character that is not white space.
fn mark(
    tokens: &[(u32, Range<usize>)],
    text: &str,
    mut turn: Range<usize>,
    tokenizer: &ChatTokenizer,
    is_target: &mut [bool],
) {
    let inside = |turn: &Range<usize>, range: &Range<usize>| {
        range.start >= turn.start && range.end <= turn.end
    };
    let end_of_turn = tokens
        .iter()
        .rfind(|(id, range)| inside(&turn, range) && tokenizer.is_eos(*id));
    turn.end = match end_of_turn {
        Some((_, range)) => range.end,
        None => {
            let content = text.get(turn.clone()).unwrap_or_default();
            turn.start + content.trim_end().len()
        }
    };
    for ((_, range), target) in tokens.iter().zip(is_target) {
        *target |= inside(&turn, range);
    }
}
