//! Operations with a fused version on the CPU and on GPUs.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;

use super::backward::backward;
use crate::segment::{AttentionShape, Segment};

/// Inputs are of a type that the backend has the operation for; their shapes have been checked.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub(crate) trait FusedOps: Backend {
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
}

/// What the backward passes need of the backend below the autodiff one.
pub(crate) trait FusedBackward: FusedOps {
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// The gradient by the weight, `[width]`.
    fn rms_norm_weight_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];

    /// The result and what the backward pass keeps besides the inputs, if anything.
    fn attention_with_state(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        shape: AttentionShape,
        segments: Vec<Segment>,
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>);

    fn attention_backward(
        state: AttentionState<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
}

/// What attention keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct AttentionState<B: Backend> {
    pub(crate) q: FloatTensor<B>,
    pub(crate) k: FloatTensor<B>,
    pub(crate) v: FloatTensor<B>,
    /// What [`FusedBackward::attention_with_state`] gave besides the result.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub(crate) kept: Vec<FloatTensor<B>>,
    pub(crate) shape: AttentionShape,
    pub(crate) segments: Vec<Segment>,
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

impl<B: FusedBackward, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct RmsNorm;

        impl<B: FusedBackward> Backward<B, 2> for RmsNorm {
            type State = (FloatTensor<B>, FloatTensor<B>, f64);

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, weight, eps) = ops.state;
                let [of_x, of_weight] = ops.parents;
                if let Some(node) = of_weight {
                    let grad = B::rms_norm_weight_backward(x.clone(), dy.clone(), eps);
                    grads.register::<B>(node.id, grad);
                }
                if let Some(node) = of_x {
                    let grad = B::rms_norm_backward(x, weight, dy, eps);
                    grads.register::<B>(node.id, grad);
                }
            }
        }

        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match RmsNorm.prepare::<C>(nodes).compute_bound().stateful() {
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
            FusedBackward,
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
        backward!(
            FusedBackward,
            Swiglu,
            2,
            (FloatTensor<B>, FloatTensor<B>),
            |state, dy| {
                let (gate, up) = state;
                B::swiglu_backward(gate, up, dy)
            }
        );

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
        backward!(
            FusedBackward,
            Attention,
            3,
            AttentionState<B>,
            |state, dy| B::attention_backward(state, dy)
        );

        let nodes = [q.node(), k.node(), v.node()];
        let (q, k, v) = (q.into_primitive(), k.into_primitive(), v.into_primitive());
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (q2, k2, v2) = (q.clone(), k.clone(), v.clone());
                let (y, kept) = B::attention_with_state(q2, k2, v2, shape, segments.clone());
                let state = AttentionState {
                    q,
                    k,
                    v,
                    kept,
                    shape,
                    segments,
                };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_attention(q, k, v, shape, segments)),
        }
    }
}
