mod config;
mod error;
mod judge;
mod labelled;
#[cfg(test)]
mod tests;

pub use config::{EmbeddedText, EmbeddingJudgeConfig, JudgeTarget};
pub use error::JudgeError;
pub use judge::EmbeddingJudge;
pub use labelled::LabelledExchange;
