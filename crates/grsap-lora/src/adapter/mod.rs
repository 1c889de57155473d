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
#[cfg(test)]
pub(crate) use factors::tensors;
pub(crate) use factors::{check_attached, hex, read, replace};
pub use lora_config::{LoraConfig, TargetModules};
pub(crate) use peft_files::{ADAPTER_CONFIG, ADAPTER_MODEL};
pub use peft_files::{AdapterDtype, load_adapter, save_adapter};
