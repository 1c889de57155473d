//! Operations with matrices that are trained: their gradients are formed too.

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;

use super::backward::{backward, by_row};

/// Shapes have been checked; all are `f32`.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub(crate) trait TrainedOps: Backend {
    /// `x · weightᵀ`.
    fn trained_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The negative log-likelihood of a target for each row, `[n]`, of logits `[n, vocab]`.
    fn nll(logits: FloatTensor<Self>, targets: Vec<u32>, softcap: Option<f32>)
    -> FloatTensor<Self>;
}

/// What the backward passes need of the backend below the autodiff one.
pub(crate) trait TrainedBackward: TrainedOps {
    /// `dy · weight`.
    fn by_input(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `dyᵀ · x`.
    fn by_weight(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The losses and the gradient of each by its row of logits.
    fn nll_with_grad(
        logits: FloatTensor<Self>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

pub(crate) fn trained_linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::trained_linear(x, weight))
}

pub(crate) fn nll(logits: Tensor<2>, targets: Vec<u32>, softcap: Option<f32>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::nll(logits.into_dispatch(), targets, softcap))
}

impl<B: TrainedBackward, C: CheckpointStrategy> TrainedOps for Autodiff<B, C> {
    fn trained_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct TrainedLinear;

        impl<B: TrainedBackward> Backward<B, 2> for TrainedLinear {
            type State = (FloatTensor<B>, FloatTensor<B>);

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, weight) = ops.state;
                let [of_x, of_weight] = ops.parents;
                if let Some(node) = of_x {
                    grads.register::<B>(node.id, B::by_input(dy.clone(), weight));
                }
                if let Some(node) = of_weight {
                    grads.register::<B>(node.id, B::by_weight(dy, x));
                }
            }
        }

        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match TrainedLinear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::trained_linear(x.clone(), weight.clone());
                prep.finish((x, weight), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::trained_linear(x, weight)),
        }
    }

    fn nll(
        logits: FloatTensor<Self>,
        targets: Vec<u32>,
        softcap: Option<f32>,
    ) -> FloatTensor<Self> {
        backward!(TrainedBackward, Nll, 1, FloatTensor<B>, |grad, dy| [
            by_row::<B>(grad, dy)
        ]);

        let node = logits.node();
        let logits = logits.into_primitive();
        match Nll.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, grad) = B::nll_with_grad(logits, targets, softcap);
                prep.finish(grad, loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::nll(logits, targets, softcap)),
        }
    }
}
