//! Operations with frozen weights that are tensors: GPUs have them.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::{DType, Tensor};

use super::backward::backward;
use crate::linear::{Dropout, LoraWeights};

/// A frozen weight, `[out, in]`.
#[derive(Debug, Clone, ExtensionType)]
pub(crate) enum DenseWeight<B: Backend> {
    Whole(FloatTensor<B>),
    /// Widened where it is needed, and not kept.
    Blocks {
        /// `[out, words]`: the codes of [`BLOCK`](crate::blocks::BLOCK) inputs after those of others.
        codes: IntTensor<B>,
        /// `[out, blocks]`.
        scales: FloatTensor<B>,
        /// Inputs.
        width: usize,
        /// Of a code.
        bits: usize,
        /// What it is widened to.
        dtype: DType,
    },
}

/// Shapes have been checked. Weights have the type of the input, factors are f32.
#[backend_extension(Cube: cfg(feature = "cube"), Autodiff)]
pub(crate) trait DenseOps: Backend {
    /// The weight as a tensor. Not differentiable.
    fn widened(#[extension_type] weight: DenseWeight<Self>) -> FloatTensor<Self>;

    fn dense_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: DenseWeight<Self>,
    ) -> FloatTensor<Self>;

    fn dense_lora_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: DenseWeight<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;

    fn dense_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        #[extension_type] weight: DenseWeight<Self>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self>;
}

/// What the backward passes need of the backend below the autodiff one.
pub(crate) trait DenseBackward: DenseOps {
    fn dense_linear_backward(dy: FloatTensor<Self>, weight: DenseWeight<Self>)
    -> FloatTensor<Self>;

    /// The result and `scale * dropout(x) · aᵀ`.
    fn dense_lora_linear_with_low(
        x: FloatTensor<Self>,
        weight: DenseWeight<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
        dropout: Option<Dropout>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of x (None where nobody asks), a and b.
    fn dense_lora_linear_backward(
        state: DenseLoraState<Self>,
        dy: FloatTensor<Self>,
        with_dx: bool,
    ) -> (Option<FloatTensor<Self>>, [FloatTensor<Self>; 2]);

    /// The losses `[n]` and the gradient of each row's loss by its hidden state `[n, width]`.
    fn dense_linear_cross_entropy_with_grad(
        hidden: FloatTensor<Self>,
        weight: DenseWeight<Self>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Every row of `grad` times the element of `dy` that belongs to it.
    fn scale_rows(grad: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What a low-rank linear layer keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct DenseLoraState<B: Backend> {
    pub(crate) x: FloatTensor<B>,
    pub(crate) weight: DenseWeight<B>,
    pub(crate) a: FloatTensor<B>,
    pub(crate) b: FloatTensor<B>,
    /// `scale * dropout(x) · aᵀ`, with the scale in it already.
    pub(crate) low: FloatTensor<B>,
    pub(crate) scale: f64,
    pub(crate) dropout: Option<Dropout>,
}

pub(crate) fn widened(weight: DenseWeight<Dispatch>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::widened(weight))
}

pub(crate) fn dense_linear(x: Tensor<2>, weight: DenseWeight<Dispatch>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::dense_linear(x.into_dispatch(), weight))
}

pub(crate) fn dense_lora_linear(
    x: Tensor<2>,
    weight: DenseWeight<Dispatch>,
    lora: LoraWeights,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::dense_lora_linear(
        x.into_dispatch(),
        weight,
        lora.a.into_dispatch(),
        lora.b.into_dispatch(),
        lora.scale,
        dropout,
    ))
}

pub(crate) fn dense_linear_cross_entropy(
    hidden: Tensor<2>,
    weight: DenseWeight<Dispatch>,
    targets: Vec<u32>,
    softcap: Option<f32>,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::dense_linear_cross_entropy(
        hidden.into_dispatch(),
        weight,
        targets,
        softcap,
    ))
}

impl<B: Backend, C: CheckpointStrategy> DenseWeight<Autodiff<B, C>> {
    fn inner(self) -> DenseWeight<B> {
        match self {
            Self::Whole(weight) => DenseWeight::Whole(weight.into_primitive()),
            Self::Blocks {
                codes,
                scales,
                width,
                bits,
                dtype,
            } => DenseWeight::Blocks {
                codes,
                scales: scales.into_primitive(),
                width,
                bits,
                dtype,
            },
        }
    }
}

impl<B: DenseBackward, C: CheckpointStrategy> DenseOps for Autodiff<B, C> {
    fn widened(weight: DenseWeight<Self>) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::widened(weight.inner()))
    }

    fn dense_linear(x: FloatTensor<Self>, weight: DenseWeight<Self>) -> FloatTensor<Self> {
        backward!(
            DenseBackward,
            DenseLinear,
            1,
            DenseWeight<B>,
            |weight, dy| [B::dense_linear_backward(dy, weight)]
        );

        let node = x.node();
        let (x, weight) = (x.into_primitive(), weight.inner());
        match DenseLinear.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(weight.clone(), B::dense_linear(x, weight)),
            OpsKind::UnTracked(prep) => prep.finish(B::dense_linear(x, weight)),
        }
    }

    fn dense_lora_linear(
        x: FloatTensor<Self>,
        weight: DenseWeight<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f64,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct DenseLoraLinear;

        impl<B: DenseBackward> Backward<B, 3> for DenseLoraLinear {
            type State = DenseLoraState<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 3>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let [x, a, b] = ops.parents;
                let (dx, [da, db]) = B::dense_lora_linear_backward(ops.state, dy, x.is_some());
                for (parent, grad) in [(x, dx), (a, Some(da)), (b, Some(db))] {
                    if let (Some(node), Some(grad)) = (parent, grad) {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }

        let nodes = [x.node(), a.node(), b.node()];
        let (x, weight) = (x.into_primitive(), weight.inner());
        let (a, b) = (a.into_primitive(), b.into_primitive());
        match DenseLoraLinear
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (x2, weight2, a2, b2) = (x.clone(), weight.clone(), a.clone(), b.clone());
                let (y, low) = B::dense_lora_linear_with_low(x2, weight2, a2, b2, scale, dropout);
                let state = DenseLoraState {
                    x,
                    weight,
                    a,
                    b,
                    low,
                    scale,
                    dropout,
                };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::dense_lora_linear(x, weight, a, b, scale, dropout))
            }
        }
    }

    fn dense_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: DenseWeight<Self>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self> {
        backward!(
            DenseBackward,
            DenseLinearCrossEntropy,
            1,
            FloatTensor<B>,
            |grad, dy| [B::scale_rows(grad, dy)]
        );

        let node = hidden.node();
        let (hidden, weight) = (hidden.into_primitive(), weight.inner());
        match DenseLinearCrossEntropy
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (loss, grad) =
                    B::dense_linear_cross_entropy_with_grad(hidden, weight, targets, softcap);
                prep.finish(grad, loss)
            }
            OpsKind::UnTracked(prep) => {
                let loss = B::dense_linear_cross_entropy(hidden, weight, targets, softcap);
                prep.finish(loss)
            }
        }
    }
}
