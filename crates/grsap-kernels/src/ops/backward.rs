use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

/// Makes a struct for the backward pass of one operation, on backends that have the trait named
/// first.
macro_rules! backward {
    ($bound:ident, $name:ident, $parents:literal, $state:ty, |$ops_state:ident, $grad:ident| $grads:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: $bound> Backward<B, $parents> for $name {
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

pub(super) use backward;

/// Row i of `grad`, the gradient of loss i alone, times what comes back for that loss.
pub(super) fn by_row<B: Backend>(grad: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    let n = dy.shape().num_elements();
    B::float_mul(grad, B::float_reshape(dy, Shape::new([n, 1])))
}
