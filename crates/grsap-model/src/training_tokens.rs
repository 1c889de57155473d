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
            let end = end_of_turn(&tokens, &text, turn.end, tokenizer);
            for ((_, range), target) in tokens.iter().zip(&mut is_target) {
                *target |= range.start >= turn.start && range.end <= end;
            }
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

/// The bytes of `text` from the first that the assistant writes in message `index` to the end of
/// the message's content.
fn assistant_turn(
    messages: &[Message],
    index: usize,
    text: &str,
    template: &ChatTemplate,
) -> Result<Range<usize>, TrainingTokensError> {
    let unstable = || TrainingTokensError::NotPrefixStable { index };
    let before = messages.get(..index).unwrap_or_default();
    let prompt = match template.render_raw(before, true) {
        // Some templates cannot render an empty chat.
        Err(_) if before.is_empty() => return Err(unstable()),
        prompt => prompt?,
    };
    let (marked, marked_end) = template
        .render_marked(messages, index)?
        .ok_or_else(unstable)?;
    // Both are equal up to the marker, but for trailing spaces that the template trims.
    let end = text
        .char_indices()
        .zip(marked.char_indices())
        .find(|((_, a), (position, b))| a != b || *position == marked_end)
        .map_or(text.len(), |((position, _), _)| position);
    let trimmed = marked.get(end..marked_end).map(str::trim);
    if !text.starts_with(&prompt) || end < prompt.len() || trimmed != Some("") {
        return Err(unstable());
    }
    Ok(prompt.len()..end)
}

/// Where the turn ends whose content ends at `content_end`: after its end-of-turn token, which
/// follows at once or after white space. Without one, where its content ends.
fn end_of_turn(
    tokens: &[(u32, Range<usize>)],
    text: &str,
    content_end: usize,
    tokenizer: &ChatTokenizer,
) -> usize {
    tokens
        .iter()
        .find(|(id, range)| range.end > content_end && tokenizer.is_eos(*id))
        .filter(|(_, range)| {
            // Some end-of-turn tokens take the white space before them in.
            let between = text.get(content_end..range.start.max(content_end));
            between.is_some_and(|between| between.trim().is_empty())
        })
        .map_or(content_end, |(_, range)| range.end)
}
