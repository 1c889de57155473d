//! What the optimiser does: one pass over memory, in parallel over blocks of all tensors.

#![allow(unsafe_code)]

use super::Dense;
use super::elementwise::BLOCK;
use super::simd::{Simd, dot, simd_fn};
use super::team::run_parts;
use crate::adamw::AdamWStep;

/// A parameter, the means of its gradient, and the gradient.
pub(super) struct Parameter {
    pub(super) values: Dense,
    pub(super) exp_avg: Dense,
    pub(super) exp_avg_sq: Dense,
    pub(super) gradient: Dense,
    /// What the values are multiplied by first.
    pub(super) decay: f32,
}

/// Numbers of a step that are the same for all.
struct Numbers {
    betas: [f32; 2],
    /// One less each, rounded once: in f32 the difference loses half its digits.
    rests: [f32; 2],
    step_size: f32,
    root_correction: f32,
    eps: f32,
    gradient_scale: f32,
}

/// Some elements of a parameter.
struct Part<'a> {
    values: &'a mut [f32],
    exp_avg: &'a mut [f32],
    exp_avg_sq: &'a mut [f32],
    gradient: &'a [f32],
    decay: f32,
}

/// One step. Works in the memory of what nobody else holds, and on copies of the rest.
pub(super) fn adamw(mut parameters: Vec<Parameter>, step: &AdamWStep) -> Vec<Parameter> {
    let numbers = Numbers {
        betas: [step.betas.0 as f32, step.betas.1 as f32],
        rests: [(1.0 - step.betas.0) as f32, (1.0 - step.betas.1) as f32],
        step_size: step.step_size() as f32,
        root_correction: step.root_correction() as f32,
        eps: step.eps as f32,
        gradient_scale: step.gradient_scale as f32,
    };
    let mut parts = Vec::new();
    for parameter in &mut parameters {
        let values = parameter.values.data_mut().chunks_mut(BLOCK);
        let exp_avg = parameter.exp_avg.data_mut().chunks_mut(BLOCK);
        let exp_avg_sq = parameter.exp_avg_sq.data_mut().chunks_mut(BLOCK);
        let gradient = parameter.gradient.data().chunks(BLOCK);
        let of_one = values.zip(exp_avg).zip(exp_avg_sq).zip(gradient);
        parts.extend(
            of_one.map(|(((values, exp_avg), exp_avg_sq), gradient)| Part {
                values,
                exp_avg,
                exp_avg_sq,
                gradient,
                decay: parameter.decay,
            }),
        );
    }
    run_parts(&mut parts, 1, |_, parts| {
        for part in parts {
            adamw_part(part, &numbers);
        }
    });
    parameters
}

simd_fn! { fn adamw_part(part: &mut Part<'_>, numbers: &Numbers) = adamw_body }

/// In the order of the reference, so that it gives the same bits.
#[inline(always)]
unsafe fn adamw_body<S: Simd>(part: &mut Part<'_>, numbers: &Numbers) {
    let ([beta1, beta2], [rest1, rest2]) = (numbers.betas, numbers.rests);
    let values = part.values.iter_mut().zip(part.exp_avg.iter_mut());
    let values = values.zip(part.exp_avg_sq.iter_mut()).zip(part.gradient);
    for (((value, mean), square), gradient) in values {
        let gradient = gradient * numbers.gradient_scale;
        *mean = *mean * beta1 + gradient * rest1;
        *square = *square * beta2 + gradient * gradient * rest2;
        let root = square.sqrt() / numbers.root_correction + numbers.eps;
        *value = *value * part.decay - *mean / root * numbers.step_size;
    }
}

pub(super) fn sums_of_squares<'a>(tensors: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let tensors: Vec<&[f32]> = tensors.collect();
    let blocks = tensors.iter().map(|values| values.chunks(BLOCK));
    let mut blocks: Vec<(&[f32], f64)> = blocks.flatten().map(|block| (block, 0.0)).collect();
    run_parts(&mut blocks, 1, |_, blocks| {
        for (block, sum) in blocks {
            *sum = sum_of_squares(block);
        }
    });
    let mut blocks = blocks.into_iter();
    let sums = tensors.iter().map(|values| {
        let blocks = blocks.by_ref().take(values.len().div_ceil(BLOCK));
        blocks.map(|(_, sum)| sum).sum::<f64>() as f32
    });
    sums.collect()
}

simd_fn! { fn sum_of_squares(values: &[f32]) -> f64 = sum_of_squares_body }

#[inline(always)]
unsafe fn sum_of_squares_body<S: Simd>(values: &[f32]) -> f64 {
    // Short sums in f32, added up in f64.
    let runs = values.chunks(512);
    // SAFETY: the pointers are to as many floats.
    runs.map(|run| f64::from(unsafe { dot::<S>(run.as_ptr(), run.as_ptr(), run.len()) }))
        .sum()
}
