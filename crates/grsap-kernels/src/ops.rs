//! The seam to Burn's backends: one trait whose CPU side is in [`crate::flex`], and the gradients.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;

use crate::linear::{Dropout, LoraWeights};
use crate::segment::{AttentionShape, Segment};
use crate::weight::PackedWeight;

/// Fused operations. Inputs are `f32`, their shapes have been checked.
#[backend_extension(Flex: cfg(feature = "flex"), Autodiff)]
pub(crate) trait FusedOps: Backend {
    fn fused_linear(x: FloatTensor<Self>, weight: PackedWeight) -> FloatTensor<Self>;

    fn fused_lora_linear(
        x: FloatTensor<Self>,
        weight: PackedWeight,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;

    fn fused_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// With `inverse` the rotation goes backwards, which is also its gradient.
    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self>;

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
        segments: Vec<Segment>,
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
pub(crate) trait FusedBackward: FusedOps {
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

    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    fn attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        shape: AttentionShape,
        segments: Vec<Segment>,
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

pub(crate) fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        eps,
    ))
}

pub(crate) fn rotary(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_rotary(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
        false,
    ))
}

pub(crate) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_swiglu(
        gate.into_dispatch(),
        up.into_dispatch(),
    ))
}

pub(crate) fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    shape: AttentionShape,
    segments: Vec<Segment>,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::fused_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        shape,
        segments,
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

/// Makes a struct for the backward pass of one operation.
macro_rules! backward {
    ($name:ident, $parents:literal, $state:ty, |$ops_state:ident, $grad:ident| $grads:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: FusedBackward> Backward<B, $parents> for $name {
            type State = $state;

            fn backward(
                self,
                ops: Ops<Self::State, $parents>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let $ops_state = ops.state;
                let $grad = grads.consume::<B>(&ops.node);
                for (parent, grad) in ops.parents.into_iter().zip($grads) {
                    if let Some(node) = parent {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }
    };
}

impl<B: FusedBackward, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(x: FloatTensor<Self>, weight: PackedWeight) -> FloatTensor<Self> {
        backward!(Linear, 1, PackedWeight, |weight, dy| [B::linear_backward(
            dy, weight
        )]);

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
        backward!(LoraLinear, 3, LoraState<B>, |state, dy| {
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

    fn fused_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        backward!(
            RmsNorm,
            1,
            (FloatTensor<B>, FloatTensor<B>, f64),
            |state, dy| {
                let (x, weight, eps) = state;
                [B::rms_norm_backward(x, weight, dy, eps)]
            }
        );

        let node = x.node();
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match RmsNorm.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::fused_rms_norm(x.clone(), weight.clone(), eps);
                prep.finish((x, weight, eps), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_rms_norm(x, weight, eps)),
        }
    }

    fn fused_rotary(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self> {
        backward!(
            Rotary,
            1,
            (FloatTensor<B>, FloatTensor<B>, bool),
            |state, dy| {
                let (cos, sin, inverse) = state;
                [B::fused_rotary(dy, cos, sin, !inverse)]
            }
        );

        let node = x.node();
        let x = x.into_primitive();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match Rotary.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::fused_rotary(x, cos.clone(), sin.clone(), inverse);
                prep.finish((cos, sin, inverse), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_rotary(x, cos, sin, inverse)),
        }
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        backward!(Swiglu, 2, (FloatTensor<B>, FloatTensor<B>), |state, dy| {
            let (gate, up) = state;
            B::swiglu_backward(gate, up, dy)
        });

        let nodes = [gate.node(), up.node()];
        let (gate, up) = (gate.into_primitive(), up.into_primitive());
        match Swiglu.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::fused_swiglu(gate.clone(), up.clone());
                prep.finish((gate, up), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_swiglu(gate, up)),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
        segments: Vec<Segment>,
    ) -> FloatTensor<Self> {
        type State<B> = (
            FloatTensor<B>,
            FloatTensor<B>,
            FloatTensor<B>,
            AttentionShape,
            Vec<Segment>,
        );
        backward!(Attention, 3, State<B>, |state, dy| {
            let (q, k, v, shape, segments) = state;
            B::attention_backward(q, k, v, dy, shape, segments)
        });

        let nodes = [q.node(), k.node(), v.node()];
        let (q, k, v) = (q.into_primitive(), k.into_primitive(), v.into_primitive());
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (q2, k2, v2) = (q.clone(), k.clone(), v.clone());
                let y = B::fused_attention(q2, k2, v2, shape, segments.clone());
                prep.finish((q, k, v, shape, segments), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_attention(q, k, v, shape, segments)),
        }
    }

    fn fused_linear_cross_entropy(
        hidden: FloatTensor<Self>,
        weight: PackedWeight,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self> {
        backward!(LinearCrossEntropy, 1, FloatTensor<B>, |grad, dy| {
            // Row i of `grad` is the gradient of loss i alone.
            let n = burn::backend::TensorMetadata::shape(&dy).num_elements();
            let dy = B::float_reshape(dy, burn::tensor::Shape::new([n, 1]));
            [B::float_mul(grad, dy)]
        });

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
