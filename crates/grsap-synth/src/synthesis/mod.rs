mod config;
mod first_difference;
mod journal;
mod journaled;
mod pipeline;
mod quota;

pub use config::SynthesisConfig;
pub(crate) use journal::Journal;
pub(crate) use journaled::{keys, pick};
pub use pipeline::{Synthesis, SynthesisModels};
pub use quota::QuotaConfig;
