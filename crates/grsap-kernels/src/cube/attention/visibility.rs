use cubecl::prelude::*;

use super::tiles::Tiles;

/// Whether the query at a position among the keys sees a key.
#[cube]
pub(super) fn sees(
    position: usize,
    key: usize,
    num_keys: usize,
    window: usize,
    #[comptime] tiles: Tiles,
) -> bool {
    let mut seen = key < num_keys;
    if comptime!(tiles.causal) {
        seen = seen && key <= position;
    }
    if comptime!(tiles.windowed) {
        seen = seen && key + window > position;
    }
    seen
}

/// The keys that some query of a block may see: the first, in whole tiles, and the end.
#[cube]
pub(super) fn key_range(
    first_position: usize,
    valid: usize,
    num_keys: usize,
    window: usize,
    #[comptime] tiles: Tiles,
) -> (usize, usize) {
    let mut end = num_keys;
    if comptime!(tiles.causal) {
        end = min(first_position + valid, num_keys);
    }
    let mut start = 0usize.runtime();
    if comptime!(tiles.windowed) {
        if first_position + 1 > window {
            start = (first_position + 1 - window) / tiles.keys * tiles.keys;
        }
    }
    (start, end)
}

/// What the softmax is over.
#[cube]
pub(super) fn logit(product: f32, scale: f32, cap: f32, #[comptime] tiles: Tiles) -> f32 {
    let x = product * scale;
    if comptime!(tiles.capped) {
        (x / cap).tanh() * cap
    } else {
        x
    }
}

/// The derivative of [`logit`] by the product.
#[cube]
pub(super) fn slope(logit: f32, scale: f32, cap: f32, #[comptime] tiles: Tiles) -> f32 {
    if comptime!(tiles.capped) {
        let t = logit / cap;
        scale * (1.0 - t * t)
    } else {
        scale
    }
}
