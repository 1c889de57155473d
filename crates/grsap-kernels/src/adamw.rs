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
    /// The learning rate.
    pub lr: f64,
    /// What gradients are multiplied by first; 1 but where they are clipped.
    pub gradient_scale: f64,
    /// The step's number, from 1.
    pub step: usize,
}

impl AdamWStep {
    /// What a parameter is multiplied by first.
    pub(crate) fn decay(&self, weight_decay: f64) -> f64 {
        1.0 - self.lr * weight_decay
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
    /// Decoupled weight decay of this parameter.
    pub weight_decay: f64,
}

impl AdamWState {
    fn tensors(&self) -> [&Tensor<2>; 3] {
        [&self.parameter, &self.exp_avg, &self.exp_avg_sq]
    }
}

/// One step of AdamW for all parameters, in one pass over memory. On a GPU one kernel serves many of
/// them: adapters are hundreds of small tensors, where launches take longer than arithmetic.
///
/// On the CPU the result of [`reference::adamw`](crate::reference::adamw), to the bit.
///
/// # Shapes
///
/// A gradient for each state, all tensors of both of one shape; f32, without gradient tracking.
///
/// # Errors
///
/// When the numbers of states and gradients, or their shapes, differ.
///
/// # Source
///
/// Loshchilov and Hutter 2019, with PyTorch's `torch.optim.AdamW` in the details: the decay first,
/// both means corrected for their start at zero, `eps` added after the root.
pub fn adamw(
    states: Vec<AdamWState>,
    gradients: Vec<Tensor<2>>,
    step: &AdamWStep,
) -> Result<Vec<AdamWState>, KernelError> {
    check("adamw", "gradients", states.len(), gradients.len())?;
    for (state, gradient) in states.iter().zip(&gradients) {
        let [rows, width] = state.parameter.dims();
        for tensor in [&state.exp_avg, &state.exp_avg_sq, gradient] {
            check("adamw", "rows", rows, tensor.dims()[0])?;
            check("adamw", "width", width, tensor.dims()[1])?;
        }
    }
    let tensors = states.iter().flat_map(AdamWState::tensors);
    if crate::are_together(tensors.chain(&gradients)) {
        return Ok(ops::adamw(states, gradients, step));
    }
    let states = states.into_iter().zip(gradients);
    Ok(states
        .map(|(state, gradient)| reference(state, gradient, step))
        .collect())
}

/// The same for one parameter, in plain tensor operations.
pub fn reference(state: AdamWState, gradient: Tensor<2>, step: &AdamWStep) -> AdamWState {
    let (beta1, beta2) = step.betas;
    let gradient = match step.gradient_scale {
        1.0 => gradient,
        scale => gradient * scale,
    };
    let exp_avg = state.exp_avg * beta1 + gradient.clone() * (1.0 - beta1);
    let exp_avg_sq = state.exp_avg_sq * beta2 + gradient.clone() * gradient * (1.0 - beta2);
    let root = exp_avg_sq.clone().sqrt() / step.root_correction() + step.eps;
    let parameter = state.parameter * step.decay(state.weight_decay)
        - exp_avg.clone() / root * step.step_size();
    AdamWState {
        parameter,
        exp_avg,
        exp_avg_sq,
        weight_decay: state.weight_decay,
    }
}
