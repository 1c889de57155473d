use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};

/// One unit a vector of pairs: the first and the second half of a head. In f32.
#[cube(launch)]
fn kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    cos: &[Vector<f32, N>],
    sin: &[Vector<f32, N>],
    y: &mut [Vector<F, N>],
    heads: usize,
    half: usize,
    sign: f32,
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if 2 * at < y.len() {
        let pair = at % half;
        let head = at / half;
        let angle = head / heads * half + pair;
        let first = head * 2 * half + pair;
        let a = Vector::<f32, N>::cast_from(x[first]);
        let b = Vector::<f32, N>::cast_from(x[first + half]);
        let c = cos[angle];
        let s = sin[angle] * Vector::<f32, N>::new(sign);
        y[first] = Vector::cast_from(a * c - b * s);
        y[first + half] = Vector::cast_from(b * c + a * s);
    }
}

/// `cos` and `sin` are f32.
pub(super) fn launch(x: CubeTensor, cos: CubeTensor, sin: CubeTensor, inverse: bool) -> CubeTensor {
    let (x, cos, sin) = (Dense::new(x), Dense::new(cos), Dense::new(sin));
    let y = x.empty_like();
    let client = x.client();
    let half = cos.width;
    if x.rows * x.width == 0 {
        return x.tensor;
    }
    let size = x.vector_size(half).min(cos.vector_size(half));
    let (count, dim) = elementwise(&client, x.rows * x.width / 2 / size);
    kernel::launch(
        &client,
        count,
        dim,
        size,
        x.arg(),
        cos.arg(),
        sin.arg(),
        arg(&y),
        x.width / (2 * half),
        half / size,
        if inverse { -1.0 } else { 1.0 },
        x.elem(),
    );
    y
}
