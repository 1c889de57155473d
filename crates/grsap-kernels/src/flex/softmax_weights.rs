//! [`crate::SoftmaxWeights`] in the processor's widest vectors.

#![allow(unsafe_code)]

use super::simd::{Simd, simd_fn};
use crate::softmax_weights::fill_plainly;

simd_fn! {
    pub(crate) fn softmax_weights(
        logits: &[f32], max: f64, factor: f64, values: &mut [f64], sums: &mut [f64],
    ) = body
}

#[inline(always)]
unsafe fn body<S: Simd>(
    logits: &[f32],
    max: f64,
    factor: f64,
    values: &mut [f64],
    sums: &mut [f64],
) {
    fill_plainly(logits, max, factor, values, sums);
}
