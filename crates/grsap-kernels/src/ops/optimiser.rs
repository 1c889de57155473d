//! What the optimiser does, with many tensors at once.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;

use super::tensors::Tensors;
use crate::adamw::{AdamWState, AdamWStep};

/// Shapes have been checked; all are `f32`. Nothing is differentiable.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub(crate) trait OptimiserOps: Backend {
    /// Parameter, both means and gradient of one after another, and their weight decays; the new
    /// parameters and means likewise.
    fn adamw(
        #[extension_type] tensors: Tensors<Self>,
        weight_decays: Vec<f64>,
        step: AdamWStep,
    ) -> Tensors<Self>;

    /// `[tensors]`.
    fn sums_of_squares(#[extension_type] tensors: Tensors<Self>) -> FloatTensor<Self>;
}

pub(crate) fn adamw(
    states: Vec<AdamWState>,
    gradients: Vec<Tensor<2>>,
    step: &AdamWStep,
) -> Vec<AdamWState> {
    let weight_decays: Vec<f64> = states.iter().map(|state| state.weight_decay).collect();
    let tensors = states.into_iter().zip(gradients);
    let tensors = tensors
        .flat_map(|(state, gradient)| [state.parameter, state.exp_avg, state.exp_avg_sq, gradient]);
    let new = Dispatch::adamw(Tensors::new(tensors), weight_decays.clone(), *step);
    let mut new = new.0.into_iter().map(Tensor::from_dispatch);
    let states = weight_decays.into_iter().map_while(|weight_decay| {
        Some(AdamWState {
            parameter: new.next()?,
            exp_avg: new.next()?,
            exp_avg_sq: new.next()?,
            weight_decay,
        })
    });
    states.collect()
}

pub(crate) fn sums_of_squares(tensors: Vec<Tensor<2>>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sums_of_squares(Tensors::new(tensors)))
}

impl<B: OptimiserOps, C: CheckpointStrategy> OptimiserOps for Autodiff<B, C> {
    fn adamw(tensors: Tensors<Self>, weight_decays: Vec<f64>, step: AdamWStep) -> Tensors<Self> {
        let new = B::adamw(tensors.inner(), weight_decays, step).0.into_iter();
        Tensors(new.map(FloatTensor::<Self>::new).collect())
    }

    fn sums_of_squares(tensors: Tensors<Self>) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::sums_of_squares(tensors.inner()))
    }
}
