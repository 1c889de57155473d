//! Batched generation with a key-value cache.

mod config;
mod row_pool;
mod run;
mod sampler;

pub use config::EngineConfig;
pub(crate) use run::{Job, generate};
