use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, indices, one_cube_a_row, row_units};
use super::row_sum::{row_max, row_sum};

/// One cube a row of logits: its loss, and in its place the gradient of the loss. In f32.
#[cube(launch)]
fn kernel<F: Float, N: Size>(
    logits: &mut [Vector<F, N>],
    targets: &[u32],
    losses: &mut [f32],
    rows: usize,
    vectors: usize,
    cap: f32,
    #[comptime] with_cap: bool,
    #[comptime] with_grad: bool,
    #[comptime] units: usize,
    #[define(F)] _elem: ElemType,
) {
    let row = CUBE_POS as usize;
    let mut scratch = Shared::<[f32]>::new_slice(units);
    if row < rows {
        let start = row * vectors;
        let mut highest = f32::min_value();
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < vectors {
            let v = capped::<N>(Vector::cast_from(logits[start + i]), cap, with_cap);
            let mut most = highest;
            #[unroll]
            for j in 0..v.vector_size() {
                most = max(most, v.extract(j));
            }
            sum *= (highest - most).exp();
            #[unroll]
            for j in 0..v.vector_size() {
                sum += (v.extract(j) - most).exp();
            }
            highest = most;
            i += units;
        }
        let top = row_max(highest, &mut scratch, units);
        let total = row_sum(sum * (highest - top).exp(), &mut scratch, units);
        let target = targets[row] as usize;
        let vector = capped::<N>(
            Vector::cast_from(logits[start + target / N::value()]),
            cap,
            with_cap,
        );
        if UNIT_POS == 0 {
            let own = vector.extract_dynamic(target % N::value());
            losses[row] = top + total.ln() - own;
        }
        if comptime!(with_grad) {
            // The target's logit is read by all before any is overwritten.
            sync_cube();
            let mut i = UNIT_POS as usize;
            while i < vectors {
                let v = capped::<N>(Vector::cast_from(logits[start + i]), cap, with_cap);
                let mut grad = Vector::<F, N>::zeroed();
                #[unroll]
                for j in 0..v.vector_size() {
                    let x = v.extract(j);
                    let mut g = (x - top).exp() / total;
                    if i * N::value() + j == target {
                        g -= 1.0;
                    }
                    if comptime!(with_cap) {
                        let t = x / cap;
                        g *= 1.0 - t * t;
                    }
                    grad.insert(j, F::cast_from(g));
                }
                logits[start + i] = grad;
                i += units;
            }
        }
    }
}

#[cube]
fn capped<N: Size>(v: Vector<f32, N>, cap: f32, #[comptime] with_cap: bool) -> Vector<f32, N> {
    if comptime!(with_cap) {
        let cap = Vector::<f32, N>::new(cap);
        (v / cap).tanh() * cap
    } else {
        v
    }
}

/// The losses `[rows]` of logits `[rows, vocab]`; with `with_grad` the logits' buffer then holds
/// the gradient. The caller hands over the only handle to it.
pub(super) fn launch(
    logits: CubeTensor,
    targets: &[u32],
    softcap: Option<f32>,
    with_grad: bool,
) -> (CubeTensor, CubeTensor) {
    let logits = Dense::new(logits);
    let losses = logits.empty([logits.rows], DType::F32);
    let client = logits.client();
    let size = logits.vector_size(logits.width);
    let units = row_units(&client, 256);
    let (targets, len) = indices(&client, targets);
    kernel::launch(
        &client,
        one_cube_a_row(logits.rows),
        CubeDim::new_1d(units as u32),
        size,
        logits.arg(),
        // As long as the buffer that was just made.
        unsafe { BufferArg::from_raw_parts(targets, len) },
        arg(&losses),
        logits.rows,
        logits.width / size,
        softcap.unwrap_or(1.0),
        softcap.is_some(),
        with_grad,
        units,
        logits.elem(),
    );
    (losses, logits.tensor)
}
