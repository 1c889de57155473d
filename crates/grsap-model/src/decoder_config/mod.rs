//! The shape of a decoder, from `config.json` or from GGUF metadata.

mod config;
mod hugging_face;
mod rope;

#[cfg(test)]
mod tests;

pub use config::DecoderConfig;
pub(crate) use config::SUPPORTED_ARCHITECTURES;
pub use rope::RopeScaling;
