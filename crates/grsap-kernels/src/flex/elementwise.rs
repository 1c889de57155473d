//! Row-wise operations: one pass over memory each, in parallel over blocks of rows.

#![allow(unsafe_code)]

use super::simd::{Simd, dot, exp, simd_fn};
use super::team::run_parts;
use crate::linear::Dropout;

/// Elements for which a task of its own pays.
const BLOCK: usize = 32 * 1024;

fn rows_per_task(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// What [`run_parts`] calls part `index`, of a slice that goes along.
fn part(values: &[f32], index: usize, size: usize) -> &[f32] {
    let end = ((index + 1) * size).min(values.len());
    &values[index * size..end]
}

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len().max(1);
    let block = rows_per_task(width) * width;
    let mut y = vec![0.0; x.len()];
    run_parts(&mut y, block, |index, y| {
        rms_norm_rows(part(x, index, block), weight, eps, y);
    });
    y
}

simd_fn! { fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) = rms_norm_body }

#[inline(always)]
unsafe fn rms_norm_body<S: Simd>(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        // SAFETY: both pointers are to `width` floats.
        let square = unsafe { dot::<S>(x.as_ptr(), x.as_ptr(), width) };
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = x * factor * w;
        }
    }
}

pub(super) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len().max(1);
    let block = rows_per_task(width) * width;
    let mut dx = vec![0.0; x.len()];
    run_parts(&mut dx, block, |index, dx| {
        let [x, dy] = [x, dy].map(|values| part(values, index, block));
        rms_norm_backward_rows(x, weight, dy, eps, dx);
    });
    dx
}

simd_fn! {
    fn rms_norm_backward_rows(
        x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32],
    ) = rms_norm_backward_body
}

#[inline(always)]
unsafe fn rms_norm_backward_body<S: Simd>(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    eps: f32,
    dx: &mut [f32],
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
    for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(weight) {
            *dx = dy * w;
        }
        // SAFETY: all pointers are to `width` floats.
        let (square, along) = unsafe {
            (
                dot::<S>(x.as_ptr(), x.as_ptr(), width),
                dot::<S>(dx.as_ptr(), x.as_ptr(), width),
            )
        };
        let factor = 1.0 / (square / width as f32 + eps).sqrt();
        let back = along * factor * factor * factor / width as f32;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = *dx * factor - x * back;
        }
    }
}

pub(super) fn rotary(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    width: usize,
    half: usize,
    inverse: bool,
) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    if width == 0 || half == 0 {
        return y;
    }
    let rows = rows_per_task(width);
    run_parts(&mut y, rows * width, |index, y| {
        let x = part(x, index, rows * width);
        let [cos, sin] = [cos, sin].map(|angles| part(angles, index, rows * half));
        rotary_rows(x, cos, sin, width, half, inverse, y);
    });
    y
}

simd_fn! {
    fn rotary_rows(
        x: &[f32], cos: &[f32], sin: &[f32], width: usize, half: usize, inverse: bool,
        y: &mut [f32],
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
    y: &mut [f32],
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
                *y1 = x1 * cos - x2 * sin * sign;
                *y2 = x2 * cos + x1 * sin * sign;
            }
        }
    }
}

pub(super) fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; gate.len()];
    run_parts(&mut y, BLOCK, |index, y| {
        swiglu_part(part(gate, index, BLOCK), part(up, index, BLOCK), y);
    });
    y
}

simd_fn! { fn swiglu_part(gate: &[f32], up: &[f32], y: &mut [f32]) = swiglu_body }

#[inline(always)]
unsafe fn swiglu_body<S: Simd>(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        *y = gate / (1.0 + exp(-gate)) * up;
    }
}

pub(super) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    let mut outputs: Vec<_> = dgate.chunks_mut(BLOCK).zip(dup.chunks_mut(BLOCK)).collect();
    run_parts(&mut outputs, 1, |index, outputs| {
        let [gate, up, dy] = [gate, up, dy].map(|values| part(values, index, BLOCK));
        for (dgate, dup) in outputs {
            swiglu_backward_part(gate, up, dy, dgate, dup);
        }
    });
    (dgate, dup)
}

simd_fn! {
    fn swiglu_backward_part(
        gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32],
    ) = swiglu_backward_body
}

#[inline(always)]
unsafe fn swiglu_backward_body<S: Simd>(
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let inputs = gate.iter().zip(up).zip(dy);
    for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let sigmoid = 1.0 / (1.0 + exp(-gate));
        let silu = gate * sigmoid;
        *dgate = dy * up * (sigmoid + silu * (1.0 - sigmoid));
        *dup = dy * silu;
    }
}

pub(super) fn dropout(x: &[f32], dropout: Dropout) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    run_parts(&mut y, BLOCK, |index, y| {
        dropout_part(part(x, index, BLOCK), dropout, index * BLOCK, y);
    });
    y
}

simd_fn! { fn dropout_part(x: &[f32], dropout: Dropout, first: usize, y: &mut [f32]) = dropout_body }

#[inline(always)]
unsafe fn dropout_body<S: Simd>(x: &[f32], dropout: Dropout, first: usize, y: &mut [f32]) {
    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
        *y = x * dropout.factor(first + i);
    }
}
