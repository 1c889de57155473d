use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, row_units, together};
use super::row_sum::{lane_sum, row_sum};

/// One cube for a whole tensor, so that the order of the sum is always the same.
#[cube(launch)]
fn kernel<N: Size>(
    tensors: &Sequence<Box<[Vector<f32, N>]>>,
    sums: &mut [f32],
    first: usize,
    #[comptime] units: usize,
) {
    let mut scratch = Shared::<[f32]>::new_slice(units);
    let mut sum = 0.0f32;
    #[unroll]
    for t in 0..tensors.len() {
        if CUBE_POS as usize == t {
            let mut i = UNIT_POS as usize;
            while i < tensors[t].len() {
                let v = tensors[t][i];
                sum += lane_sum::<N>(v * v);
                i += units;
            }
        }
    }
    let total = row_sum(sum, &mut scratch, units);
    if UNIT_POS == 0 {
        sums[first + CUBE_POS as usize] = total;
    }
}

/// `[tensors]`, of at least one. All f32.
pub(super) fn launch(tensors: Vec<CubeTensor>) -> CubeTensor {
    let tensors: Vec<Dense> = tensors.into_iter().map(Dense::exact).collect();
    let client = tensors[0].client();
    let sums = tensors[0].empty([tensors.len()], DType::F32);
    let units = row_units(&client, 1024);
    // One that is read; the sums are one more of the device's count.
    let most = together(&client, 1);
    for (group, tensors) in tensors.chunks(most).enumerate() {
        let sizes = tensors.iter().map(|t| t.vector_size(t.width));
        kernel::launch(
            &client,
            CubeCount::Static(tensors.len() as u32, 1, 1),
            CubeDim::new_1d(units as u32),
            sizes.min().unwrap_or(1),
            tensors.iter().map(Dense::arg).collect(),
            arg(&sums),
            group * most,
            units,
        );
    }
    sums
}
