//! Tiles of a product of bytes.

#![allow(unsafe_code)]

use super::super::simd::{SharedMut, Simd, simd_fn};
use super::int8_lanes::ByteLanes;
use super::lanes::prefetch;
use super::matrix::{PANEL, Row};
use crate::blocks::{BLOCK, rounded, scale};

/// Rows of a panel for one block: four inputs in each, and the scales.
pub(super) const BLOCK_ROWS: usize = BLOCK / 4 + 1;

/// Sixty-four numbers of the left matrix.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct LeftBlock {
    /// Signed bytes, four in a word.
    pub(super) words: [u32; BLOCK / 4],
    /// -128 times their sum: takes away what the bytes of the weight are above zero.
    pub(super) start: i32,
    pub(super) scale: f32,
}

/// One rectangle of a product.
pub(super) struct Int8Block<'a> {
    pub(super) left: &'a [LeftBlock],
    pub(super) right: &'a [Row<u32>],
    pub(super) num_blocks: usize,
    pub(super) c: SharedMut,
    pub(super) n: usize,
    pub(super) rows: (usize, usize),
    pub(super) panels: (usize, usize),
}

simd_fn! {
    pub(super) fn round_row(x: &[f32], blocks: &mut [LeftBlock]) = round_row_body
}

#[inline(always)]
unsafe fn round_row_body<S: Simd>(x: &[f32], blocks: &mut [LeftBlock]) {
    for (block, x) in blocks.iter_mut().zip(x.chunks(BLOCK)) {
        let mut padded = [0.0f32; BLOCK];
        padded[..x.len()].copy_from_slice(x);
        let (factor, back) = scale(&padded);
        let mut bytes = [0i8; BLOCK];
        let mut sum = 0;
        for (byte, x) in bytes.iter_mut().zip(&padded) {
            *byte = rounded(x * factor);
            sum += i32::from(*byte);
        }
        for (word, bytes) in block.words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(bytes.map(i8::cast_unsigned));
        }
        (block.start, block.scale) = (-128 * sum, back);
    }
}

/// Computes a block. Sums within 64 inputs are exact; those over the blocks are a chain, so that an
/// element depends on its row and its column alone.
///
/// # Safety
///
/// The CPU has the instructions of `L` and the caller was compiled for them. The rows lie in `left`,
/// the panels in `right`, and their rectangle in `c`, which nothing else touches meanwhile.
#[inline(always)]
pub(super) unsafe fn block<L: ByteLanes>(block: &Int8Block<'_>) {
    for panel in block.panels.0..block.panels.1 {
        let mut row = block.rows.0;
        while row < block.rows.1 {
            let left = block.rows.1 - row;
            // SAFETY: the caller has the instructions of L; the tile lies in the block.
            unsafe {
                row += match left {
                    6.. if L::MAX_ROWS >= 6 => tile::<L, 6>(block, row, panel),
                    4.. if L::MAX_ROWS >= 4 => tile::<L, 4>(block, row, panel),
                    2.. => tile::<L, 2>(block, row, panel),
                    _ => tile::<L, 1>(block, row, panel),
                };
            }
        }
    }
}

/// Rows of a panel between the one in use and the one that is asked for.
const AHEAD: usize = 192;

/// M rows of one panel. Returns M.
// Constant ranges are unrolled, so that the sums stay in registers.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<L: ByteLanes, const M: usize>(
    block: &Int8Block<'_>,
    row: usize,
    panel: usize,
) -> usize {
    let columns = (block.n - panel * PANEL).min(PANEL);
    let lanes = <L::F as Simd>::LANES;
    let fetch = row == block.rows.0;
    let mut start = 0;
    while start < columns {
        // SAFETY: rows and panels lie in left and right; what is stored lies in c, see below.
        unsafe {
            let left = block.left.as_ptr().add(row * block.num_blocks);
            let right = block.right.as_ptr();
            let right = right.add(panel * block.num_blocks * BLOCK_ROWS);
            let mut sums = [[L::F::zero(); 2]; M];
            for index in 0..block.num_blocks {
                let right = right.add(index * BLOCK_ROWS).cast::<u32>().add(start);
                let mut exact = [[L::splat(0); 2]; M];
                for i in 0..M {
                    let left = &*left.add(i * block.num_blocks + index);
                    exact[i] = [L::splat(left.start); 2];
                }
                for p in 0..BLOCK / 4 {
                    let right = right.add(p * PANEL);
                    if fetch && start == 0 {
                        let ahead = right.wrapping_add(AHEAD * PANEL);
                        prefetch(ahead);
                        prefetch(ahead.wrapping_add(PANEL / 2));
                    }
                    let right = [L::load(right), L::load(right.add(lanes))];
                    for i in 0..M {
                        let left = &*left.add(i * block.num_blocks + index);
                        let left = L::splat(left.words[p].cast_signed());
                        exact[i][0] = L::dot(exact[i][0], right[0], left);
                        exact[i][1] = L::dot(exact[i][1], right[1], left);
                    }
                }
                let scales = right.add(BLOCK / 4 * PANEL).cast::<f32>();
                let scales = [L::F::load(scales), L::F::load(scales.add(lanes))];
                for i in 0..M {
                    let left = L::F::splat((*left.add(i * block.num_blocks + index)).scale);
                    for v in 0..2 {
                        let scale = L::F::mul(scales[v], left);
                        sums[i][v] = L::F::fma(L::to_f32(exact[i][v]), scale, sums[i][v]);
                    }
                }
            }
            for i in 0..M {
                for v in 0..2 {
                    let offset = start + v * lanes;
                    // May lie behind the row, where nothing is stored.
                    let to = (row + i) * block.n + panel * PANEL + offset;
                    let to = block.c.0.wrapping_add(to);
                    if offset + lanes <= columns {
                        L::F::store(to, sums[i][v]);
                    } else if offset < columns {
                        let mut values = [0.0f32; PANEL];
                        L::F::store(values.as_mut_ptr(), sums[i][v]);
                        std::ptr::copy_nonoverlapping(values.as_ptr(), to, columns - offset);
                    }
                }
            }
        }
        start += 2 * lanes;
    }
    M
}
