mod attach;
mod error;
mod factors;
mod lora_config;
mod peft_config;
mod peft_files;

pub use attach::{attach, detach, merge};
pub use error::AdapterError;
pub use factors::AdapterFactors;
pub(crate) use factors::{check_attached, hex, read, replace, tensors, track, untrack};
pub use lora_config::{LoraConfig, TargetModules};
pub use peft_files::{AdapterDtype, load_adapter, save_adapter};
pub(crate) use peft_files::{ADAPTER_CONFIG, ADAPTER_MODEL, safetensors_bytes};
