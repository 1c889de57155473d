use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, MOST_CUBES, arg, row_units, together};
use crate::adamw::AdamWStep;

/// All tensors of a group; the cubes of one row are for one parameter.
#[cube(launch)]
fn kernel<N: Size>(
    parameters: &Sequence<Box<[Vector<f32, N>]>>,
    exp_avgs: &Sequence<Box<[Vector<f32, N>]>>,
    exp_avg_sqs: &Sequence<Box<[Vector<f32, N>]>>,
    gradients: &Sequence<Box<[Vector<f32, N>]>>,
    new_parameters: &mut Sequence<Box<[Vector<f32, N>]>>,
    new_exp_avgs: &mut Sequence<Box<[Vector<f32, N>]>>,
    new_exp_avg_sqs: &mut Sequence<Box<[Vector<f32, N>]>>,
    decays: &Sequence<f32>,
    beta1: f32,
    beta2: f32,
    // One less each, rounded once: in f32 the difference loses half its digits.
    rest1: f32,
    rest2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
    gradient_scale: f32,
) {
    let units = (CUBE_COUNT_X * CUBE_DIM_X) as usize;
    #[unroll]
    for i in 0..parameters.len() {
        let mut at = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
        while CUBE_POS_Y as usize == i && at < parameters[i].len() {
            let g = gradients[i][at] * Vector::new(gradient_scale);
            let beta1 = Vector::<f32, N>::new(beta1);
            let beta2 = Vector::<f32, N>::new(beta2);
            let mean = exp_avgs[i][at] * beta1 + g * Vector::new(rest1);
            let square = exp_avg_sqs[i][at] * beta2 + g * g * Vector::new(rest2);
            let root = square.sqrt() / Vector::new(root_correction) + Vector::new(eps);
            let moved =
                parameters[i][at] * Vector::new(decays[i]) - mean / root * Vector::new(step_size);
            write(&mut new_exp_avgs[i], at, mean);
            write(&mut new_exp_avg_sqs[i], at, square);
            write(&mut new_parameters[i], at, moved);
            at += units;
        }
    }
}

#[cube]
fn write<N: Size>(to: &mut [Vector<f32, N>], at: usize, value: Vector<f32, N>) {
    to[at] = value;
}

/// Parameter, both means and gradient, f32 and of one shape, of one after another. The new parameter
/// and means likewise.
pub(super) fn launch(
    tensors: Vec<CubeTensor>,
    weight_decays: &[f64],
    step: &AdamWStep,
) -> Vec<CubeTensor> {
    let tensors: Vec<Dense> = tensors.into_iter().map(Dense::exact).collect();
    let parameters: Vec<&[Dense]> = tensors.chunks(4).collect();
    let outputs: Vec<[CubeTensor; 3]> = (parameters.iter())
        .map(|of_one| [(); 3].map(|()| of_one[0].empty_like()))
        .collect();
    let Some(client) = tensors.first().map(Dense::client) else {
        return Vec::new();
    };
    // Four that are read and three that are written.
    let most = together(&client, 7);
    let groups = parameters.chunks(most).zip(outputs.chunks(most));
    for ((inputs, outputs), decays) in groups.zip(weight_decays.chunks(most)) {
        let sizes = inputs.iter().map(|of_one| {
            let [rows, width] = [of_one[0].rows, of_one[0].width];
            (of_one[0].vector_size(width), rows * width)
        });
        let (size, longest) = sizes.fold((usize::MAX, 0), |(size, longest), (this, len)| {
            (size.min(this), longest.max(len))
        });
        let units = row_units(&client, 256);
        let cubes = (longest / size).div_ceil(units).clamp(1, MOST_CUBES);
        let read = |which: usize| inputs.iter().map(move |of_one| of_one[which].arg());
        let written = |which: usize| outputs.iter().map(move |of_one| arg(&of_one[which]));
        kernel::launch(
            &client,
            CubeCount::Static(cubes as u32, inputs.len() as u32, 1),
            CubeDim::new_1d(units as u32),
            size,
            read(0).collect(),
            read(1).collect(),
            read(2).collect(),
            read(3).collect(),
            written(0).collect(),
            written(1).collect(),
            written(2).collect(),
            decays
                .iter()
                .map(|&decay| step.decay(decay) as f32)
                .collect(),
            step.betas.0 as f32,
            step.betas.1 as f32,
            (1.0 - step.betas.0) as f32,
            (1.0 - step.betas.1) as f32,
            step.step_size() as f32,
            step.root_correction() as f32,
            step.eps as f32,
            step.gradient_scale as f32,
        );
    }
    outputs.into_iter().flatten().collect()
}
