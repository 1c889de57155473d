//! A rectangle of a product, tile by tile.

#![allow(unsafe_code)]

use super::super::matmul::Store;
use super::super::simd::SharedMut;
use super::lanes::{Lanes, prefetch};
use super::matrix::{PANEL, Row};

/// Words that are summed in registers before they are added to the result. Keeps long sums
/// accurate, and a strip of a panel in the second-level cache.
const MAX_DEPTH: usize = 768;

/// Rows of a panel between the one in use and the one that is asked for.
const AHEAD: usize = 24;

/// One rectangle of `c[m, n] = a[m, depth] · b`, where b is in panels.
pub(in crate::flex) struct Block<'a, W> {
    /// Rows of `depth` words, `a_stride` apart.
    pub(in crate::flex) a: &'a [W],
    pub(in crate::flex) a_stride: usize,
    /// Panels of `depth` rows.
    pub(in crate::flex) b: &'a [Row<W>],
    pub(in crate::flex) depth: usize,
    pub(in crate::flex) c: SharedMut,
    pub(in crate::flex) c_stride: usize,
    pub(in crate::flex) n: usize,
    pub(in crate::flex) rows: (usize, usize),
    pub(in crate::flex) panels: (usize, usize),
    pub(in crate::flex) into: Store,
}

/// Computes a block.
///
/// The sum of every element is a chain over the inner dimension, cut in pieces whose length depends
/// on that dimension alone.
///
/// # Safety
///
/// The CPU has the instructions of `L` and the caller was compiled for them. The rows lie in `a`,
/// the panels in `b`, and their rectangle in `c`, which nothing else touches meanwhile.
#[inline(always)]
pub(super) unsafe fn block<L: Lanes>(block: &Block<'_, L::Word>) {
    let num_pieces = block.depth.div_ceil(MAX_DEPTH).max(1);
    let piece = block.depth.div_ceil(num_pieces);
    let num_rows = block.rows.1 - block.rows.0;
    let together = match num_rows {
        1 => 3,
        2 => 2,
        _ => 1,
    };
    let mut panel = block.panels.0;
    while panel < block.panels.1 {
        let last = (panel + together) * PANEL > block.n || panel + together > block.panels.1;
        let num_panels = if last { 1 } else { together };
        for index in 0..num_pieces {
            let (first, end) = (index * piece, ((index + 1) * piece).min(block.depth));
            let into = if index == 0 {
                block.into
            } else {
                Store::Accumulate
            };
            let mut row = block.rows.0;
            while row < block.rows.1 {
                let left = block.rows.1 - row;
                let step = Step {
                    row,
                    panel,
                    first,
                    end,
                    into,
                };
                // SAFETY: the caller has the instructions of L; the step lies in the block.
                unsafe {
                    row += match (num_panels, left) {
                        (3, _) => tile::<L, 1, 3>(block, step),
                        (2, _) => tile::<L, 2, 2>(block, step),
                        (_, 14..) if L::MAX_ROWS >= 14 => tile::<L, 14, 1>(block, step),
                        (_, 8..) if L::MAX_ROWS >= 8 => tile::<L, 8, 1>(block, step),
                        (_, 6..) if L::MAX_ROWS >= 6 => tile::<L, 6, 1>(block, step),
                        (_, 4..) if L::MAX_ROWS >= 4 => tile::<L, 4, 1>(block, step),
                        (_, 3) if L::MAX_ROWS >= 3 => tile::<L, 3, 1>(block, step),
                        (_, 2..) => tile::<L, 2, 1>(block, step),
                        _ => tile::<L, 1, 1>(block, step),
                    };
                }
            }
        }
        panel += num_panels;
    }
}

#[derive(Clone, Copy)]
struct Step {
    row: usize,
    panel: usize,
    first: usize,
    end: usize,
    into: Store,
}

/// Two vectors of columns at a time: M rows of P panels. Returns M.
// Constant ranges are unrolled, so that the sums stay in registers; iterators left some in memory.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<L: Lanes, const M: usize, const P: usize>(
    block: &Block<'_, L::Word>,
    step: Step,
) -> usize {
    let stride = block.depth;
    let column = step.panel * PANEL;
    let columns = (block.n - column).min(P * PANEL);
    let mut start = 0;
    while start < PANEL {
        // SAFETY: rows and panels lie in a and b; what is stored lies in c, see below.
        unsafe {
            let mut sums = [[[L::zero(); 2]; P]; M];
            let a = block.a.as_ptr().add(step.row * block.a_stride);
            let b = block.b.as_ptr().add(step.panel * stride);
            let b = b.cast::<L::Word>().add(start);
            // The first rows of a product wait for memory; for the others the panel is near. Several
            // panels at once keep the processor's own prefetching busy.
            let fetch = P == 1 && start == 0 && step.row == block.rows.0;
            for p in step.first..step.end {
                for q in 0..P {
                    let b = b.add((q * stride + p) * PANEL);
                    if fetch {
                        let ahead = b.wrapping_add(AHEAD * PANEL);
                        prefetch(ahead);
                        prefetch(ahead.wrapping_add(PANEL / 2));
                    }
                    let right = [L::load(b), L::load(b.add(L::LANES))];
                    for i in 0..M {
                        let left = L::splat(a.add(i * block.a_stride + p));
                        sums[i][q][0] = L::multiply_add(left, right[0], sums[i][q][0]);
                        sums[i][q][1] = L::multiply_add(left, right[1], sums[i][q][1]);
                    }
                }
            }
            for i in 0..M {
                for q in 0..P {
                    for v in 0..2 {
                        let offset = q * PANEL + start + v * L::LANES;
                        // May lie behind the row, where nothing is stored.
                        let to = (step.row + i) * block.c_stride + column + offset;
                        let to = block.c.0.wrapping_add(to);
                        let sum = sums[i][q][v];
                        if offset + L::LANES <= columns {
                            match step.into {
                                Store::Overwrite => L::store(sum, to),
                                Store::Accumulate => L::add_to(sum, to),
                            }
                        } else if offset < columns {
                            let mut values = [0.0f32; PANEL];
                            L::store(sum, values.as_mut_ptr());
                            let values = values.into_iter().take(columns - offset);
                            for (j, value) in values.enumerate() {
                                let to = to.add(j);
                                match step.into {
                                    Store::Overwrite => *to = value,
                                    Store::Accumulate => *to += value,
                                }
                            }
                        }
                    }
                }
            }
        }
        start += 2 * L::LANES;
    }
    M
}
