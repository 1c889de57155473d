//! Products with a weight that is packed once and used often.

mod kernel;
mod lanes;
mod matrix;
mod product;
mod tile;
mod weight;
mod word;

#[cfg(test)]
mod tests;

pub(crate) use weight::PackedWeight;
