use burn::tensor::Tensor;

use crate::error::{KernelError, check};
use crate::ops;

/// The numbers of one step of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay of the means of the gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The learning rate.
    pub lr: f64,
    /// The step's number, from 1.
    pub step: usize,
}

impl AdamWStep {
    pub(crate) fn decay(&self) -> f64 {
        1.0 - self.lr * self.weight_decay
    }

    pub(crate) fn step_size(&self) -> f64 {
        self.lr / (1.0 - self.betas.0.powf(self.step as f64))
    }

    pub(crate) fn root_correction(&self) -> f64 {
        (1.0 - self.betas.1.powf(self.step as f64)).sqrt()
    }
}

/// A parameter and the running means of its gradient.
#[derive(Debug, Clone)]
pub struct AdamWState {
    /// The parameter, f32.
    pub parameter: Tensor<2>,
    /// The mean of the gradients.
    pub exp_avg: Tensor<2>,
    /// The mean of their squares.
    pub exp_avg_sq: Tensor<2>,
}

/// One step of AdamW for one parameter; on a GPU in one kernel.
///
/// # Shapes
///
/// All of one shape, f32, without gradient tracking.
///
/// # Errors
///
/// When the shapes differ.
///
/// # Source
///
/// Loshchilov and Hutter 2019, with PyTorch's `torch.optim.AdamW` in the details: the decay first,
/// both means corrected for their start at zero, `eps` added after the root.
pub fn adamw(
    state: AdamWState,
    gradient: Tensor<2>,
    step: &AdamWStep,
) -> Result<AdamWState, KernelError> {
    let [rows, width] = state.parameter.dims();
    for tensor in [&state.exp_avg, &state.exp_avg_sq, &gradient] {
        check("adamw", "rows", rows, tensor.dims()[0])?;
        check("adamw", "width", width, tensor.dims()[1])?;
    }
    if crate::is_gpu(&gradient) && gradient.dtype() == burn::tensor::DType::F32 {
        return Ok(ops::adamw(state, gradient, step));
    }
    Ok(reference(state, gradient, step))
}

/// The same in plain tensor operations.
pub fn reference(state: AdamWState, gradient: Tensor<2>, step: &AdamWStep) -> AdamWState {
    let (beta1, beta2) = step.betas;
    let exp_avg = state.exp_avg * beta1 + gradient.clone() * (1.0 - beta1);
    let exp_avg_sq = state.exp_avg_sq * beta2 + gradient.clone() * gradient * (1.0 - beta2);
    let root = exp_avg_sq.clone().sqrt() / step.root_correction() + step.eps;
    let parameter = state.parameter * step.decay() - exp_avg.clone() / root * step.step_size();
    AdamWState {
        parameter,
        exp_avg,
        exp_avg_sq,
    }
}
