use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};
use crate::adamw::AdamWStep;

#[cube(launch)]
fn kernel<N: Size>(
    parameter: &[Vector<f32, N>],
    exp_avg: &[Vector<f32, N>],
    exp_avg_sq: &[Vector<f32, N>],
    gradient: &[Vector<f32, N>],
    new_parameter: &mut [Vector<f32, N>],
    new_exp_avg: &mut [Vector<f32, N>],
    new_exp_avg_sq: &mut [Vector<f32, N>],
    beta1: f32,
    beta2: f32,
    // One less each, rounded once: in f32 the difference loses half its digits.
    rest1: f32,
    rest2: f32,
    decay: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
) {
    let at = ABSOLUTE_POS;
    if at < new_parameter.len() {
        let g = gradient[at];
        let beta1 = Vector::<f32, N>::new(beta1);
        let beta2 = Vector::<f32, N>::new(beta2);
        let mean = exp_avg[at] * beta1 + g * Vector::new(rest1);
        let square = exp_avg_sq[at] * beta2 + g * g * Vector::new(rest2);
        let root = square.sqrt() / Vector::new(root_correction) + Vector::new(eps);
        new_exp_avg[at] = mean;
        new_exp_avg_sq[at] = square;
        new_parameter[at] =
            parameter[at] * Vector::new(decay) - mean / root * Vector::new(step_size);
    }
}

/// All tensors f32 and of one shape. The new parameter and means.
pub(super) fn launch(tensors: [CubeTensor; 4], step: &AdamWStep) -> [CubeTensor; 3] {
    let [parameter, exp_avg, exp_avg_sq, gradient] = tensors.map(Dense::new);
    let outputs = [(); 3].map(|()| parameter.empty_like());
    let client = parameter.client();
    let size = parameter.vector_size(parameter.width);
    let (count, dim) = elementwise(&client, parameter.rows * parameter.width / size);
    kernel::launch(
        &client,
        count,
        dim,
        size,
        parameter.arg(),
        exp_avg.arg(),
        exp_avg_sq.arg(),
        gradient.arg(),
        arg(&outputs[0]),
        arg(&outputs[1]),
        arg(&outputs[2]),
        step.betas.0 as f32,
        step.betas.1 as f32,
        (1.0 - step.betas.0) as f32,
        (1.0 - step.betas.1) as f32,
        step.decay() as f32,
        step.step_size() as f32,
        step.root_correction() as f32,
        step.eps as f32,
    );
    outputs
}
