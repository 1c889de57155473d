use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, row_units};
use super::row_sum::{lane_sum, row_sum};

/// One cube for a whole tensor, so that the order of the sum is always the same.
#[cube(launch)]
fn kernel<N: Size>(x: &[Vector<f32, N>], sums: &mut [f32], place: usize, #[comptime] units: usize) {
    let mut scratch = Shared::<[f32]>::new_slice(units);
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < x.len() {
        let v = x[i];
        sum += lane_sum::<N>(v * v);
        i += units;
    }
    let total = row_sum(sum, &mut scratch, units);
    if UNIT_POS == 0 {
        sums[place] = total;
    }
}

/// `x` is f32. The caller hands over the only handle to `sums`.
pub(super) fn launch(sums: CubeTensor, x: CubeTensor, place: usize) -> CubeTensor {
    let x = Dense::new(x);
    let client = x.client();
    let units = row_units(&client, 1024);
    kernel::launch(
        &client,
        CubeCount::Static(1, 1, 1),
        CubeDim::new_1d(units as u32),
        x.vector_size(x.width),
        x.arg(),
        arg(&sums),
        place,
        units,
    );
    sums
}
