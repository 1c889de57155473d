mod config;
mod error;
mod fitted_prompts;
mod judge;
mod labelled;
#[cfg(test)]
mod tests;
mod validation;

pub use config::{EmbeddedText, EmbeddingJudgeConfig, JudgeTarget};
pub use error::JudgeError;
pub use judge::EmbeddingJudge;
pub use labelled::LabelledExchange;
