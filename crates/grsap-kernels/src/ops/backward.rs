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
