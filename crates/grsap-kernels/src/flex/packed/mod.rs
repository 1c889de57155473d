//! Products with a weight that is packed once and used often.

mod int8;
mod int8_kernel;
mod int8_lanes;
mod int8_tile;
mod kernel;
mod lanes;
mod matrix;
mod nf4;
mod product;
mod tile;
mod weight;
mod widened;
mod word;

#[cfg(test)]
mod int8_tests;
#[cfg(test)]
mod tests;

pub(crate) use weight::PackedWeight;

/// The blocks of a product, for matrices that are packed on the way.
pub(super) mod blocks {
    pub(in crate::flex) use super::kernel::{Kernel, f32_kernel};
    pub(in crate::flex) use super::matrix::{PANEL, Row};
    pub(in crate::flex) use super::tile::Block;
    pub(in crate::flex) use super::word::Word;
}
