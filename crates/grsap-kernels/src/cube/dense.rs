use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape, Slice};
use burn_cubecl::tensor::CubeTensor;

use super::launch::Dense;
use super::low_rank::{self, Factor};
use super::product::product;
use super::{T, blocks, cross_entropy, dropout, scaled};
use crate::linear::Dropout;
use crate::ops::{DenseBackward, DenseLoraState, DenseOps, DenseWeight};

/// Logits that are in memory at once, where the device has buffers for so many.
const MOST_LOGITS: usize = 1 << 28;

fn transposed(tensor: T) -> T {
    Cube::float_transpose(tensor)
}

fn cast(tensor: T, dtype: DType) -> T {
    if tensor.dtype == dtype {
        tensor
    } else {
        Cube::float_cast(tensor, FloatDType::from(dtype))
    }
}

fn rows(tensor: T, from: usize, to: usize) -> T {
    Cube::float_slice(tensor, &[Slice::from(from..to)])
}

impl DenseOps for Cube {
    fn widened(weight: DenseWeight<Cube>) -> T {
        match weight {
            DenseWeight::Whole(weight) => weight,
            DenseWeight::Blocks {
                codes,
                scales,
                width,
                bits,
                dtype,
            } => blocks::widen(codes, scales, width, bits, dtype),
        }
    }

    fn dense_linear(x: T, weight: DenseWeight<Cube>) -> T {
        let dtype = x.dtype;
        product(x, transposed(Self::widened(weight)), dtype)
    }

    fn dense_lora_linear(
        x: T,
        weight: DenseWeight<Cube>,
        a: T,
        b: T,
        scale: f64,
        dropout: Option<Dropout>,
    ) -> T {
        Self::dense_lora_linear_with_low(x, weight, a, b, scale, dropout).0
    }

    fn dense_linear_cross_entropy(
        hidden: T,
        weight: DenseWeight<Cube>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> T {
        losses(hidden, weight, &targets, softcap, false).0
    }
}

impl DenseBackward for Cube {
    fn dense_linear_backward(dy: T, weight: DenseWeight<Cube>) -> T {
        let dtype = dy.dtype;
        product(dy, Self::widened(weight), dtype)
    }

    fn dense_lora_linear_with_low(
        x: T,
        weight: DenseWeight<Cube>,
        a: T,
        b: T,
        scale: f64,
        dropout: Option<Dropout>,
    ) -> (T, T) {
        let dtype = x.dtype;
        let y = product(x.clone(), transposed(Self::widened(weight)), dtype);
        let a = scaled::launch(a, scale, dtype);
        let low = product(dropped(x, dropout), transposed(a), dtype);
        (
            low_rank::add(y, low.clone(), Factor::ByColumn(b), None),
            low,
        )
    }

    fn dense_lora_linear_backward(
        state: DenseLoraState<Self>,
        dy: T,
        with_dx: bool,
    ) -> (Option<T>, [T; 2]) {
        let DenseLoraState {
            x,
            weight,
            a,
            b,
            low,
            scale,
            dropout,
        } = state;
        let dtype = x.dtype;
        // The scale is in `low` already.
        let db = product(transposed(dy.clone()), low, DType::F32);
        let dlow = product(dy.clone(), scaled::launch(b, scale, dtype), dtype);
        let da = product(transposed(dlow.clone()), dropped(x, dropout), DType::F32);
        let dx = with_dx.then(|| {
            let dx = product(dy, Self::widened(weight), dtype);
            low_rank::add(dx, dlow, Factor::ByRank(a), dropout)
        });
        (dx, [da, db])
    }

    fn dense_linear_cross_entropy_with_grad(
        hidden: T,
        weight: DenseWeight<Cube>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> (T, T) {
        let shape = hidden.meta.shape().clone();
        let (device, dtype) = (hidden.device.clone(), hidden.dtype);
        let (losses, grad) = losses(hidden, weight, &targets, softcap, true);
        let grad =
            grad.unwrap_or_else(|| Cube::float_zeros(shape, &device, FloatDType::from(dtype)));
        (losses, grad)
    }

    fn scale_rows(grad: T, dy: T) -> T {
        let n = dy.meta.shape().num_elements();
        let dtype = grad.dtype;
        let dy = cast(Cube::float_reshape(dy, Shape::new([n, 1])), dtype);
        Cube::float_mul(grad, dy)
    }
}

fn dropped(x: CubeTensor, dropout: Option<Dropout>) -> CubeTensor {
    match dropout {
        Some(dropout) => dropout::launch(x, dropout),
        None => x,
    }
}

/// The losses and, if asked for, the gradient by the hidden states, so many rows at a time that
/// the logits stay small.
fn losses(
    hidden: T,
    weight: DenseWeight<Cube>,
    targets: &[u32],
    softcap: Option<f32>,
    with_grad: bool,
) -> (T, Option<T>) {
    let n = targets.len();
    let dtype = hidden.dtype;
    let weight = Cube::widened(weight);
    let vocab = weight.meta.shape()[0];
    if n == 0 {
        return (Dense::new(hidden).empty([0], DType::F32), None);
    }
    let buffer = hidden.client.properties().memory.max_page_size as usize / dtype.size();
    let at_once = (MOST_LOGITS.min(buffer) / vocab.max(1)).clamp(1, n);
    let (mut losses, mut grads) = (Vec::new(), Vec::new());
    for (index, targets) in targets.chunks(at_once).enumerate() {
        let from = index * at_once;
        let part = rows(hidden.clone(), from, from + targets.len());
        let logits = product(part, transposed(weight.clone()), dtype);
        let (loss, grad) = cross_entropy::launch(logits, targets, softcap, with_grad);
        losses.push(loss);
        if with_grad {
            grads.push(product(grad, weight.clone(), dtype));
        }
    }
    (joined(losses), with_grad.then(|| joined(grads)))
}

fn joined(mut parts: Vec<T>) -> T {
    match parts.len() {
        1 => parts.remove(0),
        _ => Cube::float_cat(parts, 0),
    }
}
