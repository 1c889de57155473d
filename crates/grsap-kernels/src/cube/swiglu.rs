use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};

/// In f32, whatever the storage is.
#[cube(launch)]
fn forward_kernel<F: Float, N: Size>(
    gate: &[Vector<F, N>],
    up: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        let g = Vector::<f32, N>::cast_from(gate[at]);
        let u = Vector::<f32, N>::cast_from(up[at]);
        let one = Vector::<f32, N>::new(1.0);
        let zero = Vector::<f32, N>::new(0.0);
        y[at] = Vector::cast_from(g / (one + (zero - g).exp()) * u);
    }
}

#[cube(launch)]
fn backward_kernel<F: Float, N: Size>(
    gate: &[Vector<F, N>],
    up: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    dgate: &mut [Vector<F, N>],
    dup: &mut [Vector<F, N>],
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < dgate.len() {
        let g = Vector::<f32, N>::cast_from(gate[at]);
        let u = Vector::<f32, N>::cast_from(up[at]);
        let d = Vector::<f32, N>::cast_from(dy[at]);
        let one = Vector::<f32, N>::new(1.0);
        let zero = Vector::<f32, N>::new(0.0);
        let sigmoid = one / (one + (zero - g).exp());
        let silu = g * sigmoid;
        dgate[at] = Vector::cast_from(d * u * (sigmoid + silu * (one - sigmoid)));
        dup[at] = Vector::cast_from(d * silu);
    }
}

pub(super) fn forward(gate: CubeTensor, up: CubeTensor) -> CubeTensor {
    let (gate, up) = (Dense::new(gate), Dense::new(up));
    let y = gate.empty_like();
    let client = gate.client();
    let width = gate.vector_size(gate.width);
    let (count, dim) = elementwise(&client, gate.rows * gate.width / width);
    forward_kernel::launch(
        &client,
        count,
        dim,
        width,
        gate.arg(),
        up.arg(),
        arg(&y),
        gate.elem(),
    );
    y
}

pub(super) fn backward(gate: CubeTensor, up: CubeTensor, dy: CubeTensor) -> [CubeTensor; 2] {
    let (gate, up, dy) = (Dense::new(gate), Dense::new(up), Dense::new(dy));
    let (dgate, dup) = (gate.empty_like(), gate.empty_like());
    let client = gate.client();
    let width = gate.vector_size(gate.width);
    let (count, dim) = elementwise(&client, gate.rows * gate.width / width);
    backward_kernel::launch(
        &client,
        count,
        dim,
        width,
        gate.arg(),
        up.arg(),
        dy.arg(),
        arg(&dgate),
        arg(&dup),
        gate.elem(),
    );
    [dgate, dup]
}
