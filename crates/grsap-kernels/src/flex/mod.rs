//! The CPU versions, on Burn's Flex backend.

// The public functions check every shape and index before a kernel runs.
#![allow(clippy::indexing_slicing)]

mod attention;
mod attention_blocks;
mod cross_entropy;
mod elementwise;
mod matmul;
mod optimiser;
mod packed;
mod simd;
mod softmax_weights;
mod team;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use matmul::{Store, add_nn, nn, nt, tn};
pub(crate) use packed::PackedWeight;
pub(crate) use softmax_weights::softmax_weights;

use crate::adamw::AdamWStep;
use crate::linear::Dropout;
use crate::ops::{
    AttentionState, FusedBackward, FusedOps, LoraState, OptimiserOps, PackedBackward, PackedOps,
    Tensors, TrainedBackward, TrainedOps,
};
use crate::segment::{AttentionShape, Segment};

type T = FloatTensor<Flex>;

/// A tensor whose elements lie one after another.
struct Dense(FlexTensor);

impl Dense {
    fn new(tensor: FlexTensor) -> Self {
        Self(if tensor.is_contiguous() {
            tensor
        } else {
            tensor.to_contiguous()
        })
    }

    fn data(&self) -> &[f32] {
        let storage = self.0.storage::<f32>();
        match self.0.layout().contiguous_offsets() {
            Some((start, end)) => &storage[start..end],
            None => storage,
        }
    }

    /// Copies first where the memory is shared.
    fn data_mut(&mut self) -> &mut [f32] {
        let layout = self.0.layout();
        let (start, len) = (layout.start_offset(), layout.num_elements());
        &mut self.0.storage_mut::<f32>()[start..start + len]
    }

    fn dims(&self) -> (usize, usize) {
        let shape = self.0.layout().shape();
        (shape[0], if shape.num_dims() > 1 { shape[1] } else { 1 })
    }
}

fn tensor<const D: usize>(data: Vec<f32>, shape: [usize; D]) -> T {
    FlexTensor::new(
        burn::tensor::Bytes::from_elems(data),
        Layout::contiguous(Shape::new(shape)),
        DType::F32,
    )
}

impl FusedOps for Flex {
    fn fused_rms_norm(x: T, weight: T, eps: f64) -> T {
        let (x, weight) = (Dense::new(x), Dense::new(weight));
        let (rows, width) = x.dims();
        tensor(
            elementwise::rms_norm(x.data(), weight.data(), eps as f32),
            [rows, width],
        )
    }

    fn fused_rotary(x: T, cos: T, sin: T, inverse: bool) -> T {
        let (x, cos, sin) = (Dense::new(x), Dense::new(cos), Dense::new(sin));
        let ((rows, width), (_, half)) = (x.dims(), cos.dims());
        let y = elementwise::rotary(x.data(), cos.data(), sin.data(), width, half, inverse);
        tensor(y, [rows, width])
    }

    fn fused_swiglu(gate: T, up: T) -> T {
        let (gate, up) = (Dense::new(gate), Dense::new(up));
        let (rows, width) = gate.dims();
        tensor(elementwise::swiglu(gate.data(), up.data()), [rows, width])
    }

    fn fused_attention(q: T, k: T, v: T, shape: AttentionShape, segments: Vec<Segment>) -> T {
        let (q, k, v) = (Dense::new(q), Dense::new(k), Dense::new(v));
        let (rows, width) = q.dims();
        let y = attention::forward(q.data(), k.data(), v.data(), shape, &segments);
        tensor(y, [rows, width])
    }
}

impl PackedOps for Flex {
    fn fused_linear(x: T, weight: PackedWeight) -> T {
        let x = Dense::new(x);
        let (m, [n, _]) = (x.dims().0, weight.shape());
        tensor(weight.forward(x.data(), m), [m, n])
    }

    fn fused_lora_linear(
        x: T,
        weight: PackedWeight,
        a: T,
        b: T,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> T {
        Self::lora_linear_with_low(x, weight, a, b, scale, dropout).0
    }

    fn fused_linear_cross_entropy(
        hidden: T,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> T {
        let hidden = Dense::new(hidden);
        let n = hidden.dims().0;
        let loss = cross_entropy::losses(hidden.data(), &weight, &targets, softcap, None);
        tensor(loss, [n])
    }

    fn fused_write_rows(buffer: T, values: T, rows: Vec<usize>) -> T {
        let values = Dense::new(values);
        // A view would have to be copied; the callers' buffers are not views.
        let mut buffer = Dense::new(buffer);
        let (_, width) = values.dims();
        if width > 0 {
            let storage = buffer.data_mut();
            for (row, value) in rows.into_iter().zip(values.data().chunks_exact(width)) {
                storage[row * width..(row + 1) * width].copy_from_slice(value);
            }
        }
        buffer.0
    }
}

/// `x` with the dropout mask applied, or as it is.
fn dropped(x: &[f32], dropout: Option<Dropout>) -> std::borrow::Cow<'_, [f32]> {
    match dropout {
        Some(dropout) => elementwise::dropout(x, dropout).into(),
        None => x.into(),
    }
}

impl FusedBackward for Flex {
    fn rms_norm_backward(x: T, weight: T, dy: T, eps: f64) -> T {
        let (x, weight, dy) = (Dense::new(x), Dense::new(weight), Dense::new(dy));
        let (rows, width) = x.dims();
        let dx = elementwise::rms_norm_backward(x.data(), weight.data(), dy.data(), eps as f32);
        tensor(dx, [rows, width])
    }

    fn rms_norm_weight_backward(x: T, dy: T, eps: f64) -> T {
        let (x, dy) = (Dense::new(x), Dense::new(dy));
        let width = x.dims().1;
        let dweight = elementwise::rms_norm_weight_backward(x.data(), dy.data(), width, eps as f32);
        tensor(dweight, [width])
    }

    fn swiglu_backward(gate: T, up: T, dy: T) -> [T; 2] {
        let (gate, up, dy) = (Dense::new(gate), Dense::new(up), Dense::new(dy));
        let (rows, width) = gate.dims();
        let (dgate, dup) = elementwise::swiglu_backward(gate.data(), up.data(), dy.data());
        [tensor(dgate, [rows, width]), tensor(dup, [rows, width])]
    }

    fn attention_with_state(
        q: T,
        k: T,
        v: T,
        shape: AttentionShape,
        segments: Vec<Segment>,
    ) -> (T, Vec<T>) {
        (Self::fused_attention(q, k, v, shape, segments), Vec::new())
    }

    fn attention_backward(state: AttentionState<Self>, dy: T) -> [T; 3] {
        let [q, k, v, dy] = [state.q, state.k, state.v, dy].map(Dense::new);
        let ((rows, width), (kv_rows, kv_width)) = (q.dims(), k.dims());
        let (dq, dk, dv) = attention::backward(
            q.data(),
            k.data(),
            v.data(),
            dy.data(),
            state.shape,
            &state.segments,
        );
        [
            tensor(dq, [rows, width]),
            tensor(dk, [kv_rows, kv_width]),
            tensor(dv, [kv_rows, kv_width]),
        ]
    }
}

impl PackedBackward for Flex {
    fn linear_backward(dy: T, weight: PackedWeight) -> T {
        let dy = Dense::new(dy);
        let (m, [_, k]) = (dy.dims().0, weight.shape());
        let mut dx = vec![0.0; m * k];
        weight.backward(dy.data(), &mut dx, m, Store::Overwrite);
        tensor(dx, [m, k])
    }

    fn lora_linear_with_low(
        x: T,
        weight: PackedWeight,
        a: T,
        b: T,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> (T, T) {
        let (x, a, b) = (Dense::new(x), Dense::new(a), Dense::new(b));
        let ((m, k), [n, _], (r, _)) = (x.dims(), weight.shape(), a.dims());
        let input = dropped(x.data(), dropout);
        let low = nt(&input, a.data(), (m, r, k), scale);
        let mut y = weight.forward(x.data(), m);
        // As `low · (bᵀ)`: the rows of bᵀ are long, which the product likes.
        let b_t = matmul::transposed(b.data(), n, r);
        add_nn(&low, &b_t, &mut y, (m, n, r));
        (tensor(y, [m, n]), tensor(low, [m, r]))
    }

    fn lora_linear_backward(state: LoraState<Self>, dy: T) -> [T; 3] {
        let LoraState {
            x,
            weight,
            a,
            b,
            low,
            scale,
            dropout,
        } = state;
        let (x, dy) = (Dense::new(x), Dense::new(dy));
        let (a, b, low) = (Dense::new(a), Dense::new(b), Dense::new(low));
        let ((m, k), [n, _], (r, _)) = (x.dims(), weight.shape(), a.dims());

        // The gradient of `dropout(x) · aᵀ`, as `dy · (bᵀ)ᵀ`: r columns would leave vectors half empty.
        let b_t = matmul::transposed(b.data(), n, r);
        let dlow = nt(dy.data(), &b_t, (m, r, n), scale);

        let mut dx = nn(&dlow, a.data(), (m, k, r), 1.0);
        if let Some(dropout) = dropout {
            dx = elementwise::dropout(&dx, dropout);
        }
        weight.backward(dy.data(), &mut dx, m, Store::Accumulate);

        let da = tn(&dlow, &dropped(x.data(), dropout), (r, k, m));
        let db_t = tn(low.data(), dy.data(), (r, n, m));
        let db = matmul::transposed(&db_t, r, n);

        [tensor(dx, [m, k]), tensor(da, [r, k]), tensor(db, [n, r])]
    }

    fn linear_cross_entropy_with_grad(
        hidden: T,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> (T, T) {
        let hidden = Dense::new(hidden);
        let (n, width) = hidden.dims();
        let mut grad = vec![0.0; n * width];
        let (h, into) = (hidden.data(), Some(grad.as_mut_slice()));
        let loss = cross_entropy::losses(h, &weight, &targets, softcap, into);
        (tensor(loss, [n]), tensor(grad, [n, width]))
    }
}

impl TrainedOps for Flex {
    fn trained_linear(x: T, weight: T) -> T {
        let (x, weight) = (Dense::new(x), Dense::new(weight));
        let ((m, k), (n, _)) = (x.dims(), weight.dims());
        // The rows of the transpose are long, which the product likes.
        let transposed = matmul::transposed(weight.data(), n, k);
        tensor(nn(x.data(), &transposed, (m, n, k), 1.0), [m, n])
    }

    fn nll(logits: T, targets: Vec<u32>, softcap: Option<f32>) -> T {
        nll(logits, &targets, softcap, false).0
    }
}

impl TrainedBackward for Flex {
    fn by_input(dy: T, weight: T) -> T {
        let (dy, weight) = (Dense::new(dy), Dense::new(weight));
        let ((m, n), (_, k)) = (dy.dims(), weight.dims());
        tensor(nn(dy.data(), weight.data(), (m, k, n), 1.0), [m, k])
    }

    fn by_weight(dy: T, x: T) -> T {
        let (dy, x) = (Dense::new(dy), Dense::new(x));
        let ((m, n), (_, k)) = (dy.dims(), x.dims());
        tensor(tn(dy.data(), x.data(), (n, k, m)), [n, k])
    }

    fn nll_with_grad(logits: T, targets: Vec<u32>, softcap: Option<f32>) -> (T, T) {
        nll(logits, &targets, softcap, true)
    }
}

/// The losses, and the logits' memory, in which the gradient then is if asked for.
fn nll(logits: T, targets: &[u32], softcap: Option<f32>, with_grad: bool) -> (T, T) {
    let mut logits = Dense::new(logits);
    let (_, vocab) = logits.dims();
    let losses = cross_entropy::of_logits(logits.data_mut(), vocab, targets, softcap, with_grad);
    (tensor(losses, [targets.len()]), logits.0)
}

impl OptimiserOps for Flex {
    fn adamw(tensors: Tensors<Flex>, decays: Vec<f64>, step: AdamWStep) -> Tensors<Flex> {
        let mut tensors = tensors.0.into_iter().map(Dense::new);
        let mut next = || tensors.next();
        let parameters = decays.into_iter().map_while(|decay| {
            Some(optimiser::Parameter {
                values: next()?,
                exp_avg: next()?,
                exp_avg_sq: next()?,
                gradient: next()?,
                decay: step.decay(decay) as f32,
            })
        });
        let parameters = optimiser::adamw(parameters.collect(), &step).into_iter();
        Tensors(
            parameters
                .flat_map(|p| [p.values.0, p.exp_avg.0, p.exp_avg_sq.0])
                .collect(),
        )
    }

    fn sums_of_squares(tensors: Tensors<Flex>) -> T {
        let tensors: Vec<Dense> = tensors.0.into_iter().map(Dense::new).collect();
        let sums = optimiser::sums_of_squares(tensors.iter().map(Dense::data));
        let len = sums.len();
        tensor(sums, [len])
    }
}
