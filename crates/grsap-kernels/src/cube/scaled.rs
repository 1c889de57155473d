use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};

#[cube(launch)]
fn kernel<F: Float, N: Size>(
    x: &[Vector<f32, N>],
    y: &mut [Vector<F, N>],
    scale: f32,
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        y[at] = Vector::cast_from(x[at] * Vector::new(scale));
    }
}

/// A multiple of an f32 tensor, in another type.
pub(super) fn launch(x: CubeTensor, scale: f64, dtype: DType) -> CubeTensor {
    let x = Dense::new(x);
    let y = x.empty([x.rows, x.width], dtype);
    let (client, out) = (x.client(), Dense::new(y.clone()));
    let size = x.vector_size(x.width).min(out.vector_size(x.width));
    let (count, dim) = elementwise(&client, x.rows * x.width / size);
    kernel::launch(
        &client,
        count,
        dim,
        size,
        x.arg(),
        arg(&y),
        scale as f32,
        out.elem(),
    );
    y
}
