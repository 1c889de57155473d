use std::borrow::Cow;

use grsap_core::{Message, Turn};
use tokenizers::{
    Model as _, NormalizedString, Normalizer as _, OffsetType, PreTokenizedString,
    PreTokenizer as _,
};

use super::chat_tokenizer::{ChatTokenizer, TokenizerError, encode_error};
use crate::chat_template::{ChatTemplate, TemplateError};

/// Private-use characters around what is text, though it looks like a token.
const START: char = '\u{F0000}';
const END: char = '\u{F0001}';

/// What becomes of special tokens that a message spells out, such as `<|im_end|>`.
///
/// Whoever writes a message can end their turn and forge another with them. Contents that other
/// people wrote should be [`AsText`](Self::AsText).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlTokens {
    /// They are these tokens: the default of transformers.
    #[default]
    Parsed,
    /// They are text: only the template writes special tokens. With
    /// `apply_chat_template(sanitize_control_tokens=True)` transformers does the same. Of a content
    /// that the template cuts or joins anew, parts may still become special tokens.
    AsText,
}

/// A chat could not be turned into tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatEncodingError {
    /// The template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A special token cannot be written as text: plain merges make it, too.
    #[error("`{token}` cannot be encoded as text: the tokenizer makes the special token of it")]
    TextIsToken {
        /// The token.
        token: String,
    },
}

impl ChatTokenizer {
    /// The tokens of a prompt.
    ///
    /// # Errors
    ///
    /// What the template and the tokenizer say; [`ChatEncodingError::TextIsToken`].
    pub fn encode_chat(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        turn: Turn,
        control_tokens: ControlTokens,
    ) -> Result<Vec<u32>, ChatEncodingError> {
        if control_tokens == ControlTokens::Parsed {
            return Ok(self.encode(&template.render(messages, turn)?)?);
        }
        let control = self.control_tokens(template.source());
        let marked: Vec<Message> = messages
            .iter()
            .map(|message| Message::new(message.role, mark(&message.content, &control)))
            .collect();
        let text = template.render(&marked, turn)?;
        let mut ids = Vec::new();
        for (index, piece) in pieces(&text, &control).into_iter().enumerate() {
            match piece {
                Piece::Template(piece) if index == 0 => ids.extend(self.encode(piece)?),
                Piece::Template(piece) => {
                    ids.extend(behind_a_line(piece, |text| self.encode(text))?);
                }
                Piece::Text(token) => {
                    let text = behind_a_line(token, |text| self.encode_plain(text))?;
                    if self.token_to_id(token).is_some_and(|id| text.contains(&id)) {
                        let token = token.to_owned();
                        return Err(ChatEncodingError::TextIsToken { token });
                    }
                    ids.extend(text);
                }
            }
        }
        Ok(ids)
    }

    /// Special tokens, and other added tokens that the template may write; longest first, because a
    /// token may contain another.
    fn control_tokens(&self, template: &str) -> Vec<String> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let mut control: Vec<String> = added
            .into_values()
            .filter(|token| {
                let is_blank = token.content.chars().all(char::is_whitespace);
                token.special || !is_blank && template.contains(&token.content)
            })
            .map(|token| token.content)
            .collect();
        control.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        control
    }

    /// The tokens of a text in which no added token is looked for.
    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.tokenizer.get_normalizer() {
            normalizer
                .normalize(&mut normalized)
                .map_err(encode_error)?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer
                .pre_tokenize(&mut words)
                .map_err(encode_error)?;
        }
        let mut ids = Vec::new();
        for (word, ..) in
            words.get_splits(tokenizers::OffsetReferential::Normalized, OffsetType::Byte)
        {
            let tokens = self.tokenizer.get_model().tokenize(word);
            ids.extend(tokens.map_err(encode_error)?.iter().map(|token| token.id));
        }
        Ok(ids)
    }
}

/// The tokens of a piece that does not stand at the start of a text: some tokenizers put a blank
/// there. They are those after a line end, without the line end's own.
fn behind_a_line(
    piece: &str,
    encode: impl Fn(&str) -> Result<Vec<u32>, TokenizerError>,
) -> Result<Vec<u32>, TokenizerError> {
    let line = encode("\n")?;
    let ids = encode(&format!("\n{piece}"))?;
    match ids.strip_prefix(line.as_slice()) {
        Some(ids) => Ok(ids.to_vec()),
        None => encode(piece),
    }
}

/// Puts marks around all control tokens of a content. Marks that are there already go.
fn mark(content: &str, control: &[String]) -> String {
    let content: Cow<'_, str> = match content.contains([START, END]) {
        true => content.replace([START, END], "").into(),
        false => content.into(),
    };
    let mut out = String::with_capacity(content.len());
    let mut rest = content.as_ref();
    while let Some(c) = rest.chars().next() {
        let token = control
            .iter()
            .find(|token| rest.starts_with(token.as_str()));
        let length = match token {
            Some(token) => {
                out.extend([START.to_string().as_str(), token, END.to_string().as_str()]);
                token.len()
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// A part of a rendered chat.
enum Piece<'a> {
    /// Written by the template, or plain content.
    Template(&'a str),
    /// A control token that is text.
    Text(&'a str),
}

/// Cuts a rendered chat at the marks. A mark without its token, which the template has torn apart,
/// only cuts.
fn pieces<'a>(text: &'a str, control: &[String]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find([START, END]) {
        let (before, marked) = rest.split_at(place);
        pieces.push(Piece::Template(before));
        let whole = marked.strip_prefix(START).and_then(|inside| {
            control.iter().find_map(|token| {
                let after = inside.strip_prefix(token.as_str())?.strip_prefix(END)?;
                Some((inside.get(..token.len())?, after))
            })
        });
        rest = match whole {
            Some((token, after)) => {
                pieces.push(Piece::Text(token));
                after
            }
            None => marked.get(START.len_utf8()..).unwrap_or_default(),
        };
    }
    pieces.push(Piece::Template(rest));
    pieces
}
