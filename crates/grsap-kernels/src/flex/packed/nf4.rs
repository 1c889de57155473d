//! A weight in four bits, with a scale for every 64 inputs of an output.

#![allow(unsafe_code)]

use rayon::prelude::*;

use super::super::matmul::Store;
use super::matrix::{PANEL, Row, copied_rows};
use super::widened::Widen;
use crate::blocks::{BLOCK, NF4, nf4};

/// Sixty-four inputs of a panel.
#[derive(Clone)]
#[repr(C)]
struct Block {
    /// For each input the codes of the outputs: of output j in the low half of byte j, of output
    /// j + 16 in the high half.
    codes: [[u8; PANEL / 2]; BLOCK],
    scales: [f32; PANEL],
}

/// The byte of an output's code, and by how many bits the code is shifted in it.
fn place(column: usize) -> (usize, usize) {
    (column % (PANEL / 2), column / (PANEL / 2) * 4)
}

/// A weight `[out, in]` in panels of [`PANEL`] outputs.
#[derive(Clone)]
pub(super) struct Nf4 {
    blocks: Vec<Block>,
    out: usize,
    width: usize,
}

impl Nf4 {
    /// Packs `[out, width]`, row-major.
    ///
    /// # Panics
    ///
    /// When there are not as many values.
    pub(super) fn new(values: &[f32], [out, width]: [usize; 2]) -> Self {
        assert_eq!(values.len(), out * width);
        let num_blocks = width.div_ceil(BLOCK);
        let empty = Block {
            codes: [[0; PANEL / 2]; BLOCK],
            scales: [0.0; PANEL],
        };
        let mut blocks = vec![empty; out.div_ceil(PANEL) * num_blocks];
        if !blocks.is_empty() {
            let panels = blocks.par_chunks_exact_mut(num_blocks);
            let panels = panels.zip(values.par_chunks(PANEL * width));
            panels.for_each(|(panel, values)| {
                for (column, values) in values.chunks_exact(width).enumerate() {
                    let (byte, shift) = place(column);
                    for (block, values) in panel.iter_mut().zip(values.chunks(BLOCK)) {
                        let mut codes = [0; BLOCK];
                        block.scales[column] = nf4(values, &mut codes);
                        for (to, code) in block.codes.iter_mut().zip(codes) {
                            to[byte] |= code << shift;
                        }
                    }
                }
            });
        }
        Self { blocks, out, width }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.out, self.width]
    }

    pub(super) fn num_bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    /// The blocks of a panel.
    fn panel(&self, panel: usize) -> &[Block] {
        let num_blocks = self.width.div_ceil(BLOCK);
        &self.blocks[panel * num_blocks..][..num_blocks]
    }

    /// Writes one row of the weight.
    fn copy_row(&self, row: usize, to: &mut [f32]) {
        let column = row % PANEL;
        let (byte, shift) = place(column);
        for (to, block) in to.chunks_mut(BLOCK).zip(self.panel(row / PANEL)) {
            for (to, codes) in to.iter_mut().zip(&block.codes) {
                let code = (codes[byte] >> shift) & 15;
                *to = NF4[usize::from(code)] * block.scales[column];
            }
        }
    }

    /// The rows with the given indices, one after another.
    pub(super) fn rows(&self, indices: &[usize]) -> Vec<f32> {
        copied_rows(self.width, indices, |row, to| self.copy_row(row, to))
    }

    /// The weight as it was, but for rounding.
    pub(super) fn unpacked(&self) -> Vec<f32> {
        self.rows(&(0..self.out).collect::<Vec<_>>())
    }

    pub(super) fn forward(&self, x: &[f32], m: usize) -> Vec<f32> {
        let mut y = vec![0.0; m * self.out];
        self.product_into(x, m, &mut y);
        y
    }

    pub(super) fn forward_into(&self, x: &[f32], m: usize, y: &mut [f32]) {
        self.product_into(x, m, y);
    }

    pub(super) fn backward(&self, dy: &[f32], dx: &mut [f32], m: usize, into: Store) {
        self.product_back(dy, dx, m, into);
    }
}

impl Widen for Nf4 {
    fn shape(&self) -> [usize; 2] {
        self.shape()
    }

    fn widen(&self, panel: usize, to: &mut [Row<f32>]) {
        let blocks = self.panel(panel);
        #[cfg(target_arch = "x86_64")]
        if super::super::simd::isa() == super::super::simd::Isa::Avx512 {
            // SAFETY: the CPU has the instructions.
            unsafe { widen_avx512(blocks, to) };
            return;
        }
        widen(blocks, to);
    }
}

fn widen(blocks: &[Block], to: &mut [Row<f32>]) {
    for (rows, block) in to.chunks_mut(BLOCK).zip(blocks) {
        for (row, codes) in rows.iter_mut().zip(&block.codes) {
            let (low, high) = row.0.split_at_mut(PANEL / 2);
            let (low_scales, high_scales) = block.scales.split_at(PANEL / 2);
            for ((to, code), scale) in low.iter_mut().zip(codes).zip(low_scales) {
                *to = NF4[usize::from(code & 15)] * scale;
            }
            for ((to, code), scale) in high.iter_mut().zip(codes).zip(high_scales) {
                *to = NF4[usize::from(code >> 4)] * scale;
            }
        }
    }
}

/// The same, sixteen at a time: the table fits a register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn widen_avx512(blocks: &[Block], to: &mut [Row<f32>]) {
    use std::arch::x86_64::*;
    // SAFETY: every pointer leads to a whole array of the sixteen bytes or numbers that are read or
    // written.
    unsafe {
        let table = _mm512_loadu_ps(NF4.as_ptr());
        for (rows, block) in to.chunks_mut(BLOCK).zip(blocks) {
            let scales = block.scales.as_ptr();
            let scales = [_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(16))];
            for (row, codes) in rows.iter_mut().zip(&block.codes) {
                let codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
                // Only the lowest four bits of a place count.
                let low = _mm512_permutexvar_ps(codes, table);
                let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(codes), table);
                let row = row.0.as_mut_ptr();
                _mm512_storeu_ps(row, _mm512_mul_ps(low, scales[0]));
                _mm512_storeu_ps(row.add(16), _mm512_mul_ps(high, scales[1]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_widening_are_the_same() {
        for [out, width] in [[1, 1], [33, 64], [40, 100], [64, 200]] {
            let values: Vec<f32> = (0..out * width)
                .map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0)
                .collect();
            let weight = Nf4::new(&values, [out, width]);
            let unpacked = weight.unpacked();
            for panel in 0..out.div_ceil(PANEL) {
                let mut plain = vec![Row::ZERO; width];
                let mut fast = vec![Row([f32::NAN; PANEL]); width];
                widen(weight.panel(panel), &mut plain);
                weight.widen(panel, &mut fast);
                for (input, (plain, fast)) in plain.iter().zip(&fast).enumerate() {
                    assert_eq!(plain.0, fast.0);
                    for (column, value) in plain.0.iter().enumerate() {
                        let row = panel * PANEL + column;
                        let expected = if row < out {
                            unpacked[row * width + input]
                        } else {
                            0.0
                        };
                        assert_eq!(value.abs(), expected.abs());
                    }
                }
            }
        }
    }
}
