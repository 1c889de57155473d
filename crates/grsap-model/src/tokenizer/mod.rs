//! Text to tokens and back.

mod chat_encoding;
mod chat_tokenizer;
mod hugging_face_files;
mod json;

#[cfg(test)]
mod tests;

pub use chat_encoding::{ChatEncodingError, ControlTokens};
pub use chat_tokenizer::{ChatTokenizer, TokenizerError};
pub(crate) use json::read_tokenizer;
