use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise};
use crate::blocks::{BLOCK, NF4};

/// One unit writes one vector, whose codes lie in one word.
#[cube(launch)]
fn kernel<F: Float, N: Size>(
    codes: &[u32],
    scales: &[f32],
    table: &[f32],
    y: &mut [Vector<F, N>],
    width: usize,
    num_blocks: usize,
    #[comptime] bits: usize,
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < y.len() {
        let row = at * N::value() / width;
        let input = at * N::value() % width;
        let in_word = 32 / bits;
        let word = codes[row * (num_blocks * (BLOCK / in_word)) + input / in_word];
        let word = word >> ((input % in_word * bits) as u32);
        let scale = scales[row * num_blocks + input / BLOCK];
        let mut out = Vector::<F, N>::zeroed();
        #[unroll]
        for i in 0..out.vector_size() {
            let code = (word >> ((i * bits) as u32)) & ((1u32 << (bits as u32)) - 1u32);
            let value = if comptime!(bits == 4) {
                table[code as usize]
            } else {
                f32::cast_from(code) - 128.0
            };
            out.insert(i, F::cast_from(value * scale));
        }
        y[at] = out;
    }
}

/// `[out, width]` of a weight in blocks.
pub(super) fn widen(
    codes: CubeTensor,
    scales: CubeTensor,
    width: usize,
    bits: usize,
    dtype: DType,
) -> CubeTensor {
    let (codes, scales) = (Dense::new(codes), Dense::new(scales));
    let y = codes.empty([codes.rows, width], dtype);
    let client = codes.client();
    let out = Dense::new(y.clone());
    let size = out.vector_size(32 / bits);
    let (count, dim) = elementwise(&client, codes.rows * width / size);
    let table = client.create_from_slice(bytemuck::cast_slice(&NF4));
    kernel::launch(
        &client,
        count,
        dim,
        size,
        codes.arg(),
        scales.arg(),
        // As long as the buffer that was just made.
        unsafe { BufferArg::from_raw_parts(table, NF4.len()) },
        arg(&y),
        width,
        width.div_ceil(BLOCK),
        bits,
        out.elem(),
    );
    y
}
