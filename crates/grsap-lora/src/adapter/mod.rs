mod attach;
mod error;
mod factors;
mod lora_config;
mod peft_config;
mod peft_files;
#[cfg(test)]
mod tests;

pub use attach::{attach, detach, merge};
pub use error::AdapterError;
pub use factors::AdapterFactors;
pub(crate) use factors::{check_attached, hex, read, replace, tensors, track, untrack};
pub use lora_config::{LoraConfig, TargetModules};
pub(crate) use peft_files::{ADAPTER_CONFIG, ADAPTER_MODEL, safetensors_bytes};
pub use peft_files::{AdapterDtype, load_adapter, save_adapter};
