//! The shape of a decoder, from `config.json` or from GGUF metadata.

mod config;
mod family;
mod gguf;
mod hugging_face;
mod rope;

#[cfg(test)]
mod tests;

pub use config::{Activation, DecoderConfig};
pub(crate) use family::{
    AttentionBias, BlockNorms, Family, NormKind, QkNorm, TensorNames, WindowRule,
};
pub use rope::{RopeConfig, RopeScaling};
