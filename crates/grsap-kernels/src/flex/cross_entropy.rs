//! Head and loss in blocks of rows: the logits of one block are all that is ever held.

#![allow(unsafe_code)]

use super::matmul::Store;
use super::packed::PackedWeight;
use super::simd::{Simd, exp, simd_fn, tanh};
use super::team;

/// Bytes of logits held at a time. For each such block the head's weight is turned round once.
const LOGITS_BYTES: usize = 48 * 1024 * 1024;

/// The loss of each row; with `grad`, the gradient of each row's loss by its hidden state too.
pub(super) fn losses(
    hidden: &[f32],
    weight: &PackedWeight,
    targets: &[u32],
    softcap: Option<f32>,
    mut grad: Option<&mut [f32]>,
) -> Vec<f32> {
    let n = targets.len();
    let [vocab, width] = weight.shape();
    let mut losses = Vec::with_capacity(n);
    if vocab == 0 {
        return losses;
    }
    let block = (LOGITS_BYTES / (4 * vocab)).clamp(1, n.max(1));
    let mut logits = vec![0.0; block * vocab];
    let mut first = 0;
    while first < n {
        let rows = block.min(n - first);
        let span = first * width..(first + rows) * width;
        let logits = &mut logits[..rows * vocab];
        weight.forward_into(&hidden[span.clone()], rows, logits);
        let targets = &targets[first..first + rows];
        losses.extend(of_logits(logits, vocab, targets, softcap, grad.is_some()));
        if let Some(grad) = grad.as_deref_mut() {
            weight.backward(logits, &mut grad[span], rows, Store::Overwrite);
        }
        first += rows;
    }
    losses
}

/// The loss of each row of logits, which then hold the losses' gradients by them if asked for.
pub(super) fn of_logits(
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    softcap: Option<f32>,
    with_grad: bool,
) -> Vec<f32> {
    let mut losses = vec![0.0; targets.len()];
    let mut outputs: Vec<_> = logits.chunks_mut(vocab.max(1)).zip(&mut losses).collect();
    team::run_parts(&mut outputs, 1, |index, outputs| {
        for (logits, loss) in outputs {
            **loss = row(logits, targets[index] as usize, softcap, with_grad);
        }
    });
    losses
}

simd_fn! {
    fn row(logits: &mut [f32], target: usize, softcap: Option<f32>, with_grad: bool) -> f32
        = row_body
}

/// The loss of one row; turns the logits into the loss's gradient by them where asked.
#[inline(always)]
unsafe fn row_body<S: Simd>(
    logits: &mut [f32],
    target: usize,
    softcap: Option<f32>,
    with_grad: bool,
) -> f32 {
    let mut capped = Vec::new();
    if let Some(cap) = softcap {
        for x in logits.iter_mut() {
            *x = tanh(*x / cap);
        }
        if with_grad {
            capped.extend_from_slice(logits);
        }
        for x in logits.iter_mut() {
            *x *= cap;
        }
    }
    let max = logits
        .iter()
        .fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let wanted = logits[target] - max;
    // Partial sums in f32 over short runs, added up in f64: exact enough for 2^18 classes.
    let mut sum = 0.0f64;
    for run in logits.chunks_mut(256) {
        let mut lanes = [0.0f32; 16];
        let mut chunks = run.chunks_exact_mut(16);
        for chunk in &mut chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *x = exp(*x - max);
                *lane += *x;
            }
        }
        let mut part: f32 = lanes.iter().sum();
        for x in chunks.into_remainder() {
            *x = exp(*x - max);
            part += *x;
        }
        sum += f64::from(part);
    }
    if with_grad {
        let factor = (1.0 / sum) as f32;
        for x in logits.iter_mut() {
            *x *= factor;
        }
        logits[target] -= 1.0;
        for (x, tanh) in logits.iter_mut().zip(&capped) {
            *x *= 1.0 - tanh * tanh;
        }
    }
    (sum.ln() - f64::from(wanted)) as f32
}
