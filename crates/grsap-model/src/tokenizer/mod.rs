//! Text to tokens and back.

mod chat_tokenizer;
mod json;

pub use chat_tokenizer::{ChatTokenizer, TokenizerError};
