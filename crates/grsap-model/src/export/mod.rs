//! Models as directories in Hugging Face's layout.

mod config_json;
mod save_config;
mod save_error;
mod save_pretrained;
mod shards;

pub use save_config::{SaveConfig, WeightDtype};
pub use save_error::SaveError;
