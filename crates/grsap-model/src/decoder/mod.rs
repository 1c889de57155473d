//! The decoder and the linear layers it is made of.

mod blocks;
mod kv_cache;
mod layer;
mod mlp;
mod model;
mod projection;
mod unprefixed;

pub use blocks::Blocks;
pub use kv_cache::KvCache;
pub(crate) use model::select_rows;
pub use model::{Decoder, DecoderInput};
pub use projection::{LoraFactors, Projection};
pub(crate) use projection::{ProjectionForm, matrix, vector};
