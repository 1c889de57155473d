//! A weight in bytes, with a scale for every 64 inputs of an output.

#![allow(unsafe_code)]

use rayon::prelude::*;

use super::super::matmul::Store;
use super::super::simd::{SharedMut, Simd, simd_fn};
use super::super::team;
use super::int8_kernel::{Int8Kernel, int8_kernel};
use super::int8_tile::{BLOCK_ROWS, Int8Block, LeftBlock};
use super::matrix::{PANEL, Row, copied_rows};
use super::product::{SERIAL_WORK, TASKS_PER_THREAD};
use super::widened::Widen;
use crate::blocks::{BLOCK, int8};

/// Elements of the left matrix for which a task of its own pays, when they are rounded.
const ELEMENTS_PER_TASK: usize = 1 << 15;

/// Bytes of the left matrix that a task walks over again and again.
const LEFT_BLOCK_BYTES: usize = 512 * 1024;

/// A weight `[out, in]` in panels of [`PANEL`] outputs. For each 64 inputs a panel has 16 rows, with four
/// inputs of every output in a word, as bytes above 128; and then a row with the outputs' scales.
#[derive(Clone)]
pub(super) struct Int8 {
    rows: Vec<Row<u32>>,
    out: usize,
    width: usize,
}

impl Int8 {
    /// Packs `[out, width]`, row-major.
    ///
    /// # Panics
    ///
    /// When there are not as many values.
    pub(super) fn new(values: &[f32], [out, width]: [usize; 2]) -> Self {
        assert_eq!(values.len(), out * width);
        let panel_rows = width.div_ceil(BLOCK) * BLOCK_ROWS;
        let mut rows = vec![Row([0x8080_8080; PANEL]); out.div_ceil(PANEL) * panel_rows];
        if !rows.is_empty() {
            let panels = rows.par_chunks_exact_mut(panel_rows);
            let panels = panels.zip(values.par_chunks(PANEL * width));
            panels.for_each(|(panel, values)| {
                for block in panel.chunks_exact_mut(BLOCK_ROWS) {
                    block[BLOCK / 4] = Row([0; PANEL]);
                }
                for (column, values) in values.chunks_exact(width).enumerate() {
                    let blocks = panel.chunks_exact_mut(BLOCK_ROWS);
                    for (block, values) in blocks.zip(values.chunks(BLOCK)) {
                        let mut codes = [128; BLOCK];
                        let scale = int8(values, &mut codes);
                        for (row, codes) in block.iter_mut().zip(codes.as_chunks::<4>().0) {
                            row.0[column] = u32::from_le_bytes(*codes);
                        }
                        block[BLOCK / 4].0[column] = scale.to_bits();
                    }
                }
            });
        }
        Self { rows, out, width }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.out, self.width]
    }

    pub(super) fn num_bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    fn num_blocks(&self) -> usize {
        self.width.div_ceil(BLOCK)
    }

    /// Writes one row of the weight.
    fn copy_row(&self, row: usize, to: &mut [f32]) {
        let panel_rows = self.num_blocks() * BLOCK_ROWS;
        let panel = &self.rows[row / PANEL * panel_rows..][..panel_rows];
        let column = row % PANEL;
        for (to, input) in to.iter_mut().zip(0..) {
            let block = &panel[input / BLOCK * BLOCK_ROWS..][..BLOCK_ROWS];
            let bytes = block[input % BLOCK / 4].0[column].to_le_bytes();
            let scale = f32::from_bits(block[BLOCK / 4].0[column]);
            *to = (f32::from(bytes[input % 4]) - 128.0) * scale;
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

    /// `x[m, in] · weightᵀ`: `[m, out]`.
    ///
    /// # Panics
    ///
    /// When `x` is not a whole number of rows.
    pub(super) fn forward(&self, x: &[f32], m: usize) -> Vec<f32> {
        let mut y = vec![0.0; m * self.out];
        self.forward_into(x, m, &mut y);
        y
    }

    /// As [`forward`](Self::forward), into memory that is there.
    ///
    /// # Panics
    ///
    /// When `x` or `y` is not a whole number of rows.
    pub(super) fn forward_into(&self, x: &[f32], m: usize, y: &mut [f32]) {
        self.forward_by(int8_kernel(), x, m, y);
    }

    pub(super) fn forward_by(&self, kernel: Int8Kernel, x: &[f32], m: usize, y: &mut [f32]) {
        assert!(x.len() == m * self.width && y.len() == m * self.out);
        if m == 0 || self.out == 0 {
            return;
        }
        let num_blocks = self.num_blocks();
        if num_blocks == 0 {
            y.fill(0.0);
            return;
        }
        let left = left(x, self.width, m);
        let num_panels = self.out.div_ceil(PANEL);
        let most = (LEFT_BLOCK_BYTES / (size_of::<LeftBlock>() * num_blocks)).clamp(84, 504);
        let rows = m.div_ceil(m.div_ceil(most)).next_multiple_of(6);
        let num_row_tasks = m.div_ceil(rows);
        let threads = rayon::current_num_threads();
        let panels = (num_panels * num_row_tasks).div_ceil(threads * TASKS_PER_THREAD);
        let num_panel_tasks = num_panels.div_ceil(panels);
        let y = SharedMut(y.as_mut_ptr());
        let task = |index: usize| {
            let row = index / num_panel_tasks * rows;
            let panel = index % num_panel_tasks * panels;
            let block = Int8Block {
                left: &left,
                right: &self.rows,
                num_blocks,
                c: y,
                n: self.out,
                rows: (row, (row + rows).min(m)),
                panels: (panel, (panel + panels).min(num_panels)),
            };
            kernel.run(&block);
        };
        let num_tasks = num_row_tasks * num_panel_tasks;
        // Several times as fast as in single precision.
        if m * self.out * self.width < 2 * SERIAL_WORK {
            (0..num_tasks).for_each(task);
        } else {
            team::run(num_tasks, task);
        }
    }

    /// `dx[m, in] = dy[m, out] · weight`, or `+=`, in single precision.
    ///
    /// # Panics
    ///
    /// When `dy` or `dx` is not a whole number of rows.
    pub(super) fn backward(&self, dy: &[f32], dx: &mut [f32], m: usize, into: Store) {
        self.product_back(dy, dx, m, into);
    }
}

impl Widen for Int8 {
    fn shape(&self) -> [usize; 2] {
        self.shape()
    }

    fn widen(&self, panel: usize, to: &mut [Row<f32>]) {
        let panel_rows = self.num_blocks() * BLOCK_ROWS;
        let panel = &self.rows[panel * panel_rows..][..panel_rows];
        for (to, block) in to.chunks_mut(BLOCK).zip(panel.chunks_exact(BLOCK_ROWS)) {
            widen_block(block, to);
        }
    }
}

simd_fn! {
    fn widen_block(block: &[Row<u32>], to: &mut [Row<f32>]) = widen_block_body
}

#[inline(always)]
unsafe fn widen_block_body<S: Simd>(block: &[Row<u32>], to: &mut [Row<f32>]) {
    let scales = block[BLOCK / 4].0.map(f32::from_bits);
    for (to, words) in to.chunks_mut(4).zip(block) {
        for (byte, to) in to.iter_mut().enumerate() {
            for ((to, word), scale) in to.0.iter_mut().zip(&words.0).zip(&scales) {
                let byte = (word >> (8 * byte)) & 0xFF;
                *to = (byte as f32 - 128.0) * scale;
            }
        }
    }
}

/// The left matrix in bytes, `m` rows of `width`.
fn left(x: &[f32], width: usize, m: usize) -> Vec<LeftBlock> {
    let num_blocks = width.div_ceil(BLOCK);
    let mut blocks = vec![LeftBlock::default(); m * num_blocks];
    let rows = (ELEMENTS_PER_TASK / width).max(1);
    team::run_parts(&mut blocks, rows * num_blocks, |index, blocks| {
        let x = x.chunks_exact(width).skip(index * rows);
        for (blocks, x) in blocks.chunks_exact_mut(num_blocks).zip(x) {
            super::int8_tile::round_row(x, blocks);
        }
    });
    blocks
}
