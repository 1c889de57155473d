mod encoder;
mod error;
mod example_name;
mod sft_config;
mod sft_example;
#[cfg(test)]
mod tests;

pub use encoder::SftEncoder;
pub use error::SftError;
pub use example_name::ExampleName;
pub use sft_config::{LossScope, SftConfig};
pub(crate) use sft_example::REPLAY;
pub use sft_example::SftExample;
