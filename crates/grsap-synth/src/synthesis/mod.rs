mod config;
mod pipeline;
mod run_folder;

pub use config::SynthesisConfig;
pub use pipeline::{Synthesis, SynthesisModels};
