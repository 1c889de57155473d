//! The GPU versions, as CubeCL kernels for CUDA and wgpu. Inputs and results are f32, f16 or bf16;
//! everything is computed in f32, but for attention of odd heads and the gradient of shared prefixes
//! (`attention/fallback.rs`), whose scores have the type of the inputs. Products of large matrices are
//! Burn's, or cuBLASLt's.

// A kernel's body is translated as it stands, and its parameters are the buffers it works on. The
// public functions check every shape and index before a kernel runs.
#![allow(
    clippy::indexing_slicing,
    clippy::too_many_arguments,
    clippy::assign_op_pattern,
    clippy::unnecessary_cast,
    clippy::collapsible_if
)]
// Launching is unsafe where a buffer's length is stated by hand.
#![allow(unsafe_code)]

mod adamw;
mod attention;
mod blocks;
mod cross_entropy;
#[cfg(feature = "cublas")]
mod cublas;
mod dense;
mod dropout;
mod launch;
mod low_rank;
mod product;
mod rms_norm;
mod rotary;
mod row_sum;
mod scaled;
mod sums_of_squares;
mod swiglu;

#[cfg(feature = "cublas")]
pub use cublas::num_cublas_products;

use burn::backend::Cube;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::tensor::CubeTensor;

use crate::adamw::AdamWStep;
use crate::ops::{
    AttentionState, FusedBackward, FusedOps, OptimiserOps, Tensors, TrainedBackward, TrainedOps,
};
use crate::segment::{AttentionShape, Segment};
use product::product;

type T = CubeTensor;

impl FusedOps for Cube {
    fn fused_rms_norm(x: T, weight: T, eps: f64) -> T {
        rms_norm::forward(x, weight, eps)
    }

    fn fused_rotary(x: T, cos: T, sin: T, inverse: bool) -> T {
        rotary::launch(x, cos, sin, inverse)
    }

    fn fused_swiglu(gate: T, up: T) -> T {
        swiglu::forward(gate, up)
    }

    fn fused_attention(q: T, k: T, v: T, shape: AttentionShape, segments: Vec<Segment>) -> T {
        attention::forward([q, k, v], shape, &segments).0
    }
}

impl FusedBackward for Cube {
    fn rms_norm_backward(x: T, weight: T, dy: T, eps: f64) -> T {
        rms_norm::backward(x, weight, dy, eps)
    }

    fn rms_norm_weight_backward(x: T, dy: T, eps: f64) -> T {
        let shape = x.meta.shape().clone();
        let ones = Cube::float_ones(Shape::new([shape[1]]), &x.device, FloatDType::F32);
        let normed = Cube::float_mul(rms_norm::forward(x, ones, eps), dy);
        let sums = Cube::float_sum_dim(normed, 0);
        Cube::float_reshape(sums, Shape::new([shape[1]]))
    }

    fn swiglu_backward(gate: T, up: T, dy: T) -> [T; 2] {
        swiglu::backward(gate, up, dy)
    }

    fn attention_with_state(
        q: T,
        k: T,
        v: T,
        shape: AttentionShape,
        segments: Vec<Segment>,
    ) -> (T, Vec<T>) {
        attention::forward([q, k, v], shape, &segments)
    }

    fn attention_backward(state: AttentionState<Self>, dy: T) -> [T; 3] {
        let AttentionState {
            q,
            k,
            v,
            kept,
            shape,
            segments,
        } = state;
        attention::backward([q, k, v], kept, dy, shape, &segments)
    }
}

impl TrainedOps for Cube {
    fn trained_linear(x: T, weight: T) -> T {
        product(x, Cube::float_transpose(weight), DType::F32)
    }

    fn nll(logits: T, targets: Vec<u32>, softcap: Option<f32>) -> T {
        cross_entropy::launch(logits, &targets, softcap, false).0
    }
}

impl TrainedBackward for Cube {
    fn by_input(dy: T, weight: T) -> T {
        product(dy, weight, DType::F32)
    }

    fn by_weight(dy: T, x: T) -> T {
        product(Cube::float_transpose(dy), x, DType::F32)
    }

    fn nll_with_grad(logits: T, targets: Vec<u32>, softcap: Option<f32>) -> (T, T) {
        cross_entropy::launch(logits, &targets, softcap, true)
    }
}

impl OptimiserOps for Cube {
    fn adamw(tensors: Tensors<Cube>, decays: Vec<f64>, step: AdamWStep) -> Tensors<Cube> {
        Tensors(adamw::launch(tensors.0, &decays, &step))
    }

    fn sums_of_squares(tensors: Tensors<Cube>) -> T {
        sums_of_squares::launch(tensors.0)
    }
}
