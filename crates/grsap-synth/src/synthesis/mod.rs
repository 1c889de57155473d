mod config;
mod first_difference;
mod flow;
mod journal;
mod journaled;
mod pipeline;
mod quota;
mod stages;

pub use config::SynthesisConfig;
pub(crate) use journal::Journal;
pub(crate) use journaled::{keys, pick};
pub use pipeline::{Synthesis, SynthesisModels};
pub use quota::QuotaConfig;
