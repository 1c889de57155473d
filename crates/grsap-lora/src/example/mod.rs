mod encoder;
mod error;
mod sft_config;
mod sft_example;
#[cfg(test)]
mod tests;

pub use encoder::SftEncoder;
pub use error::SftError;
pub use sft_config::{LossScope, SftConfig};
pub(crate) use sft_example::REPLAY;
pub use sft_example::SftExample;
