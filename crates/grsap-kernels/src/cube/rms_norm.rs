use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, one_cube_a_row, row_units};
use super::row_sum::{lane_sum, row_sum};

/// One cube a row, in f32.
#[cube(launch)]
fn forward_kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    y: &mut [Vector<F, N>],
    rows: usize,
    vectors: usize,
    eps: f32,
    #[comptime] units: usize,
    #[define(F)] _elem: ElemType,
) {
    let row = CUBE_POS as usize;
    let mut scratch = Shared::<[f32]>::new_slice(units);
    if row < rows {
        let start = row * vectors;
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < vectors {
            let v = Vector::<f32, N>::cast_from(x[start + i]);
            squares += lane_sum::<N>(v * v);
            i += units;
        }
        let width = f32::cast_from((vectors * N::value()) as u32);
        let sum = row_sum(squares, &mut scratch, units);
        let inverse = Vector::<f32, N>::new(1.0 / (sum / width + eps).sqrt());
        let mut i = UNIT_POS as usize;
        while i < vectors {
            let v = Vector::<f32, N>::cast_from(x[start + i]);
            y[start + i] = Vector::cast_from(v * inverse * weight[i]);
            i += units;
        }
    }
}

#[cube(launch)]
fn backward_kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    dy: &[Vector<F, N>],
    dx: &mut [Vector<F, N>],
    rows: usize,
    vectors: usize,
    eps: f32,
    #[comptime] units: usize,
    #[define(F)] _elem: ElemType,
) {
    let row = CUBE_POS as usize;
    let mut scratch = Shared::<[f32]>::new_slice(units);
    if row < rows {
        let start = row * vectors;
        let mut squares = 0.0f32;
        let mut along = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < vectors {
            let v = Vector::<f32, N>::cast_from(x[start + i]);
            let g = Vector::<f32, N>::cast_from(dy[start + i]) * weight[i];
            squares += lane_sum::<N>(v * v);
            along += lane_sum::<N>(v * g);
            i += units;
        }
        let width = f32::cast_from((vectors * N::value()) as u32);
        let squares = row_sum(squares, &mut scratch, units);
        let along = row_sum(along, &mut scratch, units);
        let inverse = 1.0 / (squares / width + eps).sqrt();
        let back = Vector::<f32, N>::new(along * inverse * inverse / width);
        let inverse = Vector::<f32, N>::new(inverse);
        let mut i = UNIT_POS as usize;
        while i < vectors {
            let v = Vector::<f32, N>::cast_from(x[start + i]);
            let g = Vector::<f32, N>::cast_from(dy[start + i]) * weight[i];
            dx[start + i] = Vector::cast_from(inverse * (g - v * back));
            i += units;
        }
    }
}

/// `weight` is f32.
pub(super) fn forward(x: CubeTensor, weight: CubeTensor, eps: f64) -> CubeTensor {
    let (x, weight) = (Dense::new(x), Dense::new(weight));
    let y = x.empty_like();
    let client = x.client();
    let size = x.vector_size(x.width).min(4);
    let units = row_units(&client, 256);
    forward_kernel::launch(
        &client,
        one_cube_a_row(x.rows),
        CubeDim::new_1d(units as u32),
        size,
        x.arg(),
        weight.arg(),
        arg(&y),
        x.rows,
        x.width / size,
        eps as f32,
        units,
        x.elem(),
    );
    y
}

pub(super) fn backward(x: CubeTensor, weight: CubeTensor, dy: CubeTensor, eps: f64) -> CubeTensor {
    let (x, weight, dy) = (Dense::new(x), Dense::new(weight), Dense::new(dy));
    let dx = x.empty_like();
    let client = x.client();
    let size = x.vector_size(x.width).min(4);
    let units = row_units(&client, 256);
    backward_kernel::launch(
        &client,
        one_cube_a_row(x.rows),
        CubeDim::new_1d(units as u32),
        size,
        x.arg(),
        weight.arg(),
        dy.arg(),
        arg(&dx),
        x.rows,
        x.width / size,
        eps as f32,
        units,
        x.elem(),
    );
    dx
}
