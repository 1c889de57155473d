//! The decoder and the linear layers it is made of.

mod kv_cache;
mod layer;
mod llama;
mod projection;

pub use kv_cache::KvCache;
pub(crate) use llama::select_rows;
pub use llama::{Decoder, DecoderInput};
pub use projection::{LoraFactors, Projection};
pub(crate) use projection::{matrix, vector};
