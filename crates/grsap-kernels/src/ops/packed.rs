//! Operations with packed weights, and writing in place: the CPU has them.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;

use super::backward::{backward, by_row};
use crate::linear::{Dropout, LoraWeights};
use crate::weight::PackedWeight;

/// Inputs are `f32`, their shapes have been checked.
#[backend_extension(Flex: cfg(feature = "flex"), Autodiff)]
pub(crate) trait PackedOps: Backend {
    fn fused_linear(x: FloatTensor<Self>, weight: PackedWeight) -> FloatTensor<Self>;

    fn fused_lora_linear(
        x: FloatTensor<Self>,
        weight: PackedWeight,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;

    fn fused_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self>;

    fn fused_write_rows(
        buffer: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: Vec<usize>,
    ) -> FloatTensor<Self>;
}

/// What the backward passes need of the backend below the autodiff one.
pub(crate) trait PackedBackward: PackedOps {
    fn linear_backward(dy: FloatTensor<Self>, weight: PackedWeight) -> FloatTensor<Self>;

    /// The result and `scale * dropout(x) · aᵀ`.
    fn lora_linear_with_low(
        x: FloatTensor<Self>,
        weight: PackedWeight,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of x, a and b.
    fn lora_linear_backward(
        state: LoraState<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];

    /// The losses `[n]` and the gradient of each row's loss by its hidden state `[n, width]`.
    fn linear_cross_entropy_with_grad(
        hidden: FloatTensor<Self>,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// What [`lora_linear`] keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct LoraState<B: Backend> {
    pub(crate) x: FloatTensor<B>,
    pub(crate) weight: PackedWeight,
    pub(crate) a: FloatTensor<B>,
    pub(crate) b: FloatTensor<B>,
    pub(crate) low: FloatTensor<B>,
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
}

pub(crate) fn linear(x: Tensor<2>, weight: PackedWeight) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_linear(x.into_dispatch(), weight))
}

pub(crate) fn lora_linear(
    x: Tensor<2>,
    weight: PackedWeight,
    lora: LoraWeights,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_lora_linear(
        x.into_dispatch(),
        weight,
        lora.a.into_dispatch(),
        lora.b.into_dispatch(),
        lora.scale as f32,
        dropout,
    ))
}

pub(crate) fn linear_cross_entropy(
    hidden: Tensor<2>,
    weight: PackedWeight,
    targets: Vec<u32>,
    softcap: Option<f32>,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fused_linear_cross_entropy(
        hidden.into_dispatch(),
        weight,
        targets,
        softcap,
    ))
}

pub(crate) fn write_rows(buffer: Tensor<2>, values: Tensor<2>, rows: Vec<usize>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_write_rows(
        buffer.into_dispatch(),
        values.into_dispatch(),
        rows,
    ))
}

impl<B: PackedBackward, C: CheckpointStrategy> PackedOps for Autodiff<B, C> {
    fn fused_linear(x: FloatTensor<Self>, weight: PackedWeight) -> FloatTensor<Self> {
        backward!(PackedBackward, Linear, 1, PackedWeight, |weight, dy| [
            B::linear_backward(dy, weight)
        ]);

        let node = x.node();
        let x = x.into_primitive();
        match Linear.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(weight.clone(), B::fused_linear(x, weight)),
            OpsKind::UnTracked(prep) => prep.finish(B::fused_linear(x, weight)),
        }
    }

    fn fused_lora_linear(
        x: FloatTensor<Self>,
        weight: PackedWeight,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        backward!(PackedBackward, LoraLinear, 3, LoraState<B>, |state, dy| {
            B::lora_linear_backward(state, dy)
        });

        let nodes = [x.node(), a.node(), b.node()];
        let x = x.into_primitive();
        let (a, b) = (a.into_primitive(), b.into_primitive());
        match LoraLinear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x2, weight2, a2, b2) = (x.clone(), weight.clone(), a.clone(), b.clone());
                let (y, low) = B::lora_linear_with_low(x2, weight2, a2, b2, scale, dropout);
                prep.finish(
                    LoraState {
                        x,
                        weight,
                        a,
                        b,
                        low,
                        scale,
                        dropout,
                    },
                    y,
                )
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::fused_lora_linear(x, weight, a, b, scale, dropout))
            }
        }
    }

    fn fused_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self> {
        backward!(
            PackedBackward,
            LinearCrossEntropy,
            1,
            FloatTensor<B>,
            |grad, dy| [by_row::<B>(grad, dy)]
        );

        let node = hidden.node();
        let hidden = hidden.into_primitive();
        match LinearCrossEntropy
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (loss, grad) =
                    B::linear_cross_entropy_with_grad(hidden, weight, targets, softcap);
                prep.finish(grad, loss)
            }
            OpsKind::UnTracked(prep) => {
                let loss = B::fused_linear_cross_entropy(hidden, weight, targets, softcap);
                prep.finish(loss)
            }
        }
    }

    fn fused_write_rows(
        buffer: FloatTensor<Self>,
        values: FloatTensor<Self>,
        rows: Vec<usize>,
    ) -> FloatTensor<Self> {
        let (buffer, values) = (buffer.into_primitive(), values.into_primitive());
        FloatTensor::<Self>::new(B::fused_write_rows(buffer, values, rows))
    }
}
