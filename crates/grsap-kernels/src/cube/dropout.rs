use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};
use crate::linear::Dropout;

/// What [`Dropout::factor`] computes, on the device.
#[cube]
pub(super) fn kept_share(
    index: u32,
    seed_low: u32,
    seed_high: u32,
    threshold: u32,
    kept: f32,
) -> f32 {
    let mut z = index * 0x9E37_79B9u32 + seed_low;
    z = (z ^ (z >> 16u32)) * 0x7FEB_352Du32;
    z ^= (z >> 15u32) ^ seed_high;
    z *= 0x846C_A68Bu32;
    z ^= z >> 16u32;
    let mut share = 0.0f32;
    if z >= threshold {
        share = kept;
    }
    share
}

#[cube(launch)]
fn kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    seed_low: u32,
    seed_high: u32,
    threshold: u32,
    kept: f32,
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        let value = x[at];
        let mut out = Vector::<F, N>::zeroed();
        #[unroll]
        for i in 0..value.vector_size() {
            let index = (at * N::value() + i) as u32;
            let share = kept_share(index, seed_low, seed_high, threshold, kept);
            out.insert(i, F::cast_from(f32::cast_from(value.extract(i)) * share));
        }
        y[at] = out;
    }
}

pub(super) fn launch(x: CubeTensor, dropout: Dropout) -> CubeTensor {
    let x = Dense::new(x);
    let y = x.empty_like();
    let client = x.client();
    let size = x.vector_size(x.width);
    let (count, dim) = elementwise(&client, x.rows * x.width / size);
    let (threshold, kept) = dropout.threshold_and_kept();
    kernel::launch(
        &client,
        count,
        dim,
        size,
        x.arg(),
        arg(&y),
        dropout.seed as u32,
        (dropout.seed >> 32) as u32,
        threshold,
        kept,
        x.elem(),
    );
    y
}
