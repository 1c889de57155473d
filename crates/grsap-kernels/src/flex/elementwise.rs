//! Row-wise operations: one pass over memory each, in parallel over blocks of rows.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use super::simd::{Simd, dot, exp, simd_fn};
use super::team::run_parts;
use crate::linear::Dropout;

/// Elements for which a task of its own pays.
pub(super) const BLOCK: usize = 32 * 1024;

fn rows_per_task(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// What [`run_parts`] calls part `index`, of a slice that goes along.
fn part(values: &[f32], index: usize, size: usize) -> &[f32] {
    let end = ((index + 1) * size).min(values.len());
    &values[index * size..end]
}

/// Where numbers are to be, so that memory is not cleared before it is written.
type Uninit = MaybeUninit<f32>;

/// Vectors of `len` numbers, which `write` writes in parts of `size`.
///
/// # Safety
///
/// `write` writes every number of the parts that it is given.
unsafe fn written_in_parts<const N: usize>(
    len: usize,
    size: usize,
    write: impl Fn(usize, [&mut [Uninit]; N]) + Sync,
) -> [Vec<f32>; N] {
    let mut values = [(); N].map(|()| Vec::with_capacity(len));
    let parts = values
        .each_mut()
        .map(|v: &mut Vec<f32>| v.spare_capacity_mut()[..len].chunks_mut(size));
    let mut parts = parts.map(Iterator::collect::<Vec<_>>);
    let mut outputs: Vec<_> = (0..len.div_ceil(size))
        .map(|index| {
            parts
                .each_mut()
                .map(|parts| std::mem::take(&mut parts[index]))
        })
        .collect();
    run_parts(&mut outputs, 1, |index, outputs| {
        for outputs in outputs {
            write(index, outputs.each_mut().map(|output| &mut **output));
        }
    });
    for values in &mut values {
        // SAFETY: by the caller's word.
        unsafe { values.set_len(len) };
    }
    values
}

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len().max(1);
    let block = rows_per_task(width) * width;
    assert!(x.len().is_multiple_of(width));
    // SAFETY: a part of x is as long as that of y, and in whole rows.
    let [y] = unsafe {
        written_in_parts(x.len(), block, |index, [y]| {
            rms_norm_rows(part(x, index, block), weight, eps, y);
        })
    };
    y
}

simd_fn! { fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [Uninit]) = rms_norm_body }

#[inline(always)]
unsafe fn rms_norm_body<S: Simd>(x: &[f32], weight: &[f32], eps: f32, y: &mut [Uninit]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        // SAFETY: both pointers are to `width` floats.
        let square = unsafe { dot::<S>(x.as_ptr(), x.as_ptr(), width) };
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            y.write(x * factor * w);
        }
    }
}

pub(super) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len().max(1);
    let block = rows_per_task(width) * width;
    assert!(x.len() == dy.len() && x.len().is_multiple_of(width));
    // SAFETY: the parts of x and dy are as long as that of dx, and in whole rows.
    let [dx] = unsafe {
        written_in_parts(x.len(), block, |index, [dx]| {
            let [x, dy] = [x, dy].map(|values| part(values, index, block));
            rms_norm_backward_rows(x, weight, dy, eps, dx);
        })
    };
    dx
}

simd_fn! {
    fn rms_norm_backward_rows(
        x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [Uninit],
    ) = rms_norm_backward_body
}

#[inline(always)]
unsafe fn rms_norm_backward_body<S: Simd>(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    eps: f32,
    dx: &mut [Uninit],
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
    for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
        // SAFETY: the pointers are to `width` floats.
        let square = unsafe { dot::<S>(x.as_ptr(), x.as_ptr(), width) };
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        let back = along(x, dy, weight) * factor * factor * factor / width as f32;
        for (dx, ((x, dy), w)) in dx.iter_mut().zip(x.iter().zip(dy).zip(weight)) {
            dx.write(dy * w * factor - x * back);
        }
    }
}

/// The gradient by the weight: for each column, the sum of the normed inputs times `dy`.
pub(super) fn rms_norm_weight_backward(x: &[f32], dy: &[f32], width: usize, eps: f32) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    if width == 0 {
        return sum;
    }
    let block = rows_per_task(width) * width;
    assert!(x.len() == dy.len() && x.len().is_multiple_of(width));
    // A sum for each block, whatever the number of threads.
    let mut sums = vec![0.0; x.len().div_ceil(block) * width];
    run_parts(&mut sums, width, |index, sums| {
        let [x, dy] = [x, dy].map(|values| part(values, index, block));
        add_rms_norm_weight_gradient(x, dy, eps, sums);
    });
    for part in sums.chunks_exact(width) {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sum
}

simd_fn! {
    fn add_rms_norm_weight_gradient(x: &[f32], dy: &[f32], eps: f32, sums: &mut [f32])
        = rms_norm_weight_body
}

#[inline(always)]
unsafe fn rms_norm_weight_body<S: Simd>(x: &[f32], dy: &[f32], eps: f32, sums: &mut [f32]) {
    let width = sums.len();
    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
        // SAFETY: both pointers are to `width` floats.
        let square = unsafe { dot::<S>(x.as_ptr(), x.as_ptr(), width) };
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        for (sum, (x, dy)) in sums.iter_mut().zip(x.iter().zip(dy)) {
            *sum += x * factor * dy;
        }
    }
}

/// The sum of `x * dy * weight`.
#[inline(always)]
fn along(x: &[f32], dy: &[f32], weight: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 32];
    let chunks = x.chunks(32).zip(dy.chunks(32)).zip(weight.chunks(32));
    for ((x, dy), w) in chunks {
        for (lane, ((x, dy), w)) in lanes.iter_mut().zip(x.iter().zip(dy).zip(w)) {
            *lane += x * (dy * w);
        }
    }
    lanes.iter().sum()
}

pub(super) fn rotary(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    width: usize,
    half: usize,
    inverse: bool,
) -> Vec<f32> {
    if width == 0 || half == 0 {
        return Vec::new();
    }
    assert!(x.len().is_multiple_of(width) && width.is_multiple_of(2 * half));
    assert!(cos.len() == x.len() / width * half && sin.len() == cos.len());
    let rows = rows_per_task(width);
    // SAFETY: the parts are whole rows, of whole heads, with their angles.
    let [y] = unsafe {
        written_in_parts(x.len(), rows * width, |index, [y]| {
            let x = part(x, index, rows * width);
            let [cos, sin] = [cos, sin].map(|angles| part(angles, index, rows * half));
            rotary_rows(x, cos, sin, width, half, inverse, y);
        })
    };
    y
}

simd_fn! {
    fn rotary_rows(
        x: &[f32], cos: &[f32], sin: &[f32], width: usize, half: usize, inverse: bool,
        y: &mut [Uninit],
    ) = rotary_body
}

#[inline(always)]
unsafe fn rotary_body<S: Simd>(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    width: usize,
    half: usize,
    inverse: bool,
    y: &mut [Uninit],
) {
    let sign = if inverse { -1.0 } else { 1.0 };
    let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
    for ((x, y), (cos, sin)) in x
        .chunks_exact(width)
        .zip(y.chunks_exact_mut(width))
        .zip(angles)
    {
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
            let (x1, x2) = x.split_at(half);
            let (y1, y2) = y.split_at_mut(half);
            let parts = x1.iter().zip(x2).zip(cos.iter().zip(sin));
            for ((y1, y2), ((x1, x2), (cos, sin))) in y1.iter_mut().zip(y2).zip(parts) {
                y1.write(x1 * cos - x2 * sin * sign);
                y2.write(x2 * cos + x1 * sin * sign);
            }
        }
    }
}

pub(super) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len());
    // SAFETY: the parts of gate and up are as long as that of y.
    let [y] = unsafe {
        written_in_parts(gate.len(), BLOCK, |index, [y]| {
            swiglu_part(part(gate, index, BLOCK), part(up, index, BLOCK), y);
        })
    };
    y
}

simd_fn! { fn swiglu_part(gate: &[f32], up: &[f32], y: &mut [Uninit]) = swiglu_body }

#[inline(always)]
unsafe fn swiglu_body<S: Simd>(gate: &[f32], up: &[f32], y: &mut [Uninit]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        y.write(gate / (1.0 + exp(-gate)) * up);
    }
}

pub(super) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert!(gate.len() == up.len() && gate.len() == dy.len());
    // SAFETY: the parts of the inputs are as long as those of the results.
    let [dgate, dup] = unsafe {
        written_in_parts(gate.len(), BLOCK, |index, [dgate, dup]| {
            let [gate, up, dy] = [gate, up, dy].map(|values| part(values, index, BLOCK));
            swiglu_backward_part(gate, up, dy, dgate, dup);
        })
    };
    (dgate, dup)
}

simd_fn! {
    fn swiglu_backward_part(
        gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [Uninit], dup: &mut [Uninit],
    ) = swiglu_backward_body
}

#[inline(always)]
unsafe fn swiglu_backward_body<S: Simd>(
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    dgate: &mut [Uninit],
    dup: &mut [Uninit],
) {
    let inputs = gate.iter().zip(up).zip(dy);
    for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let sigmoid = 1.0 / (1.0 + exp(-gate));
        let silu = gate * sigmoid;
        dgate.write(dy * up * (sigmoid + silu * (1.0 - sigmoid)));
        dup.write(dy * silu);
    }
}

pub(super) fn dropout(x: &[f32], dropout: Dropout) -> Vec<f32> {
    // SAFETY: a part of x is as long as that of y.
    let [y] = unsafe {
        written_in_parts(x.len(), BLOCK, |index, [y]| {
            dropout_part(part(x, index, BLOCK), dropout, index * BLOCK, y);
        })
    };
    y
}

simd_fn! { fn dropout_part(x: &[f32], dropout: Dropout, first: usize, y: &mut [Uninit]) = dropout_body }

#[inline(always)]
unsafe fn dropout_body<S: Simd>(x: &[f32], dropout: Dropout, first: usize, y: &mut [Uninit]) {
    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
        y.write(x * dropout.factor(first + i));
    }
}
