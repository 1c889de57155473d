//! Batched generation with a key-value cache.

mod budget;
mod config;
mod draws;
mod row_pool;
mod run;
mod sampler;

pub use config::EngineConfig;
pub(crate) use run::{Job, generate};
