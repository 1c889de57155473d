//! Products with a weight that is packed once and used often.

mod int8;
mod int8_kernel;
mod int8_lanes;
mod int8_tile;
mod kernel;
mod lanes;
mod matrix;
mod product;
mod tile;
mod weight;
mod word;

#[cfg(test)]
mod int8_tests;
#[cfg(test)]
mod tests;

pub(crate) use weight::PackedWeight;
