//! The decoder and the linear layers it is made of.

mod blocks;
mod kv_cache;
mod layer;
mod mlp;
mod model;
mod named_tensors;
mod parameters;
mod projection;
mod scoring;
mod unprefixed;

pub use blocks::Blocks;
pub use kv_cache::KvCache;
pub(crate) use model::select_rows;
pub use model::{Decoder, DecoderInput};
pub(crate) use named_tensors::NamedTensor;
pub use parameters::Parameter;
pub(crate) use parameters::Place;
pub use projection::{LoraFactors, Projection};
pub(crate) use projection::{ProjectionForm, matrix, vector};
