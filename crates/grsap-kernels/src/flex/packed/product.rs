//! Products with a packed matrix, from both sides.
//!
//! Every element of a result is one chain of additions along the inner dimension, cut into pieces
//! whose length depends on that dimension alone: not on the number of rows, the tile it falls
//! into, the number of threads, or the width of the processor's vectors.

#![allow(unsafe_code)]

use std::ops::Range;

use super::super::matmul::Store;
use super::super::simd::SharedMut;
use super::super::team;
use super::kernel::Kernel;
use super::lanes::prefetch;
use super::matrix::{PANEL, Packed, Row};
use super::tile::Block;
use super::word::Word;

/// Bytes of the left matrix that a task walks over again and again: half of a second-level cache.
const LEFT_BLOCK_BYTES: usize = 512 * 1024;

/// Panels of the right matrix's transpose that are made at a time, along the inner dimension.
pub(super) const PANELS_AT_A_TIME: usize = 24;

/// Multiplications that are not worth calling another thread for.
pub(super) const SERIAL_WORK: usize = 50_000;

/// Tasks for each thread, so that a thread that is late holds up little.
pub(super) const TASKS_PER_THREAD: usize = 8;

impl<W: Word> Packed<W> {
    /// `x[m, in] · weightᵀ`: `[m, out]`.
    ///
    /// # Panics
    ///
    /// When `x` is not a whole number of rows.
    pub(super) fn forward(&self, x: &[f32], m: usize) -> Vec<f32> {
        self.forward_by(W::kernel(), x, m)
    }

    pub(super) fn forward_by(&self, kernel: Kernel<W>, x: &[f32], m: usize) -> Vec<f32> {
        let mut y = Vec::with_capacity(m * self.out);
        // SAFETY: there is room for m x out numbers, and the product writes every one.
        unsafe {
            self.write_product(kernel, x, m, SharedMut(y.as_mut_ptr()), self.out);
            y.set_len(m * self.out);
        }
        y
    }

    /// As [`forward`](Self::forward), into memory that is there.
    ///
    /// # Panics
    ///
    /// When `x` or `y` is not a whole number of rows.
    pub(super) fn forward_into(&self, x: &[f32], m: usize, y: &mut [f32]) {
        assert_eq!(y.len(), m * self.out);
        // SAFETY: y was borrowed for writing and has the length.
        unsafe { self.write_product(W::kernel(), x, m, SharedMut(y.as_mut_ptr()), self.out) };
    }

    /// Writes m rows of `out` numbers, `stride` apart.
    ///
    /// # Safety
    ///
    /// There is room for them, which nothing else touches meanwhile.
    pub(super) unsafe fn write_product(
        &self,
        kernel: Kernel<W>,
        x: &[f32],
        m: usize,
        y: SharedMut,
        stride: usize,
    ) {
        assert_eq!(x.len(), m * self.width);
        let product = Product {
            a: &W::left(x, self.width),
            a_stride: self.depth(),
            b: &self.rows,
            depth: self.depth(),
            c: y,
            c_stride: stride,
            m,
            n: self.out,
            into: Store::Overwrite,
        };
        product.run(kernel);
    }

    /// `dx[m, in] = dy[m, out] · weight`, or `+=`.
    ///
    /// The weight is turned round piece by piece: costs as much as a few rows of `dy`.
    ///
    /// # Panics
    ///
    /// When `dy` or `dx` is not a whole number of rows.
    pub(super) fn backward(&self, dy: &[f32], dx: &mut [f32], m: usize, into: Store) {
        self.backward_by(W::kernel(), dy, dx, m, into);
    }

    pub(super) fn backward_by(
        &self,
        kernel: Kernel<W>,
        dy: &[f32],
        dx: &mut [f32],
        m: usize,
        into: Store,
    ) {
        assert!(dy.len() == m * self.out && dx.len() == m * self.width);
        if m == 0 || self.width == 0 {
            return;
        }
        if self.out == 0 {
            if into == Store::Overwrite {
                dx.fill(0.0);
            }
            return;
        }
        let dy = W::left(dy, self.out);
        self.add_back(kernel, (&dy, self.out.div_ceil(W::ELEMENTS)), dx, m, into);
    }

    /// The same with `m` rows of words that are `a_stride` apart.
    pub(super) fn add_back(
        &self,
        kernel: Kernel<W>,
        (dy, a_stride): (&[W], usize),
        dx: &mut [f32],
        m: usize,
        mut into: Store,
    ) {
        assert_eq!(dx.len(), m * self.width);
        // Others that come meanwhile take memory of their own.
        let (mut shared, mut own) = (W::scratch().try_lock(), Vec::new());
        let turned = shared.as_deref_mut().unwrap_or(&mut own);
        let num_panels = self.out.div_ceil(PANEL);
        for first in (0..num_panels).step_by(PANELS_AT_A_TIME) {
            let panels = first..(first + PANELS_AT_A_TIME).min(num_panels);
            let rows = (panels.end * PANEL).min(self.out) - first * PANEL;
            let depth = rows.div_ceil(W::ELEMENTS);
            self.turn(panels, depth, turned);
            let product = Product {
                a: &dy[first * PANEL / W::ELEMENTS..],
                a_stride,
                b: turned,
                depth,
                c: SharedMut(dx.as_mut_ptr()),
                c_stride: self.width,
                m,
                n: self.width,
                into,
            };
            product.run(kernel);
            into = Store::Accumulate;
        }
    }

    /// The transpose of some panels: panels of inputs, with `depth` words of outputs.
    fn turn(&self, panels: Range<usize>, depth: usize, turned: &mut Vec<Row<W>>) {
        let stride = self.depth();
        let len = self.width.div_ceil(PANEL) * depth;
        if turned.len() < len {
            turned.resize(len, Row::ZERO);
        }
        let size = PANEL / W::ELEMENTS;
        team::run_parts(&mut turned[..len], depth, |index, to| {
            for (to, panel) in to.chunks_mut(size).zip(panels.clone()) {
                let from = &self.rows[panel * stride..][..stride];
                let from = from.chunks(size).nth(index).unwrap_or_default();
                // The next one lies far from this one, where no processor looks by itself.
                for row in from {
                    let next = std::ptr::from_ref(row).wrapping_add(stride);
                    prefetch(next);
                    prefetch(next.cast::<W>().wrapping_add(PANEL / 2));
                }
                if from.len() == size && to.len() == size {
                    W::exchange(from, to);
                } else {
                    let (mut padded, mut all) = ([Row::ZERO; PANEL], [Row::ZERO; PANEL]);
                    padded[..from.len()].copy_from_slice(from);
                    W::exchange(&padded[..size], &mut all[..size]);
                    to.copy_from_slice(&all[..to.len()]);
                }
            }
        });
    }
}

/// `c[m, n] = a · b`, or `+=`: `a` has `m` rows of `depth` words, `b` panels of them.
///
/// Whoever makes one vouches for `c`: m rows of n places, `c_stride` apart, which nothing else touches
/// meanwhile; they need values only where they are added to.
pub(super) struct Product<'a, W> {
    pub(super) a: &'a [W],
    pub(super) a_stride: usize,
    pub(super) b: &'a [Row<W>],
    pub(super) depth: usize,
    pub(super) c: SharedMut,
    pub(super) c_stride: usize,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) into: Store,
}

impl<W: Word> Product<'_, W> {
    pub(super) fn run(&self, kernel: Kernel<W>) {
        let (m, n) = (self.m, self.n);
        if m == 0 || n == 0 {
            return;
        }
        let num_panels = n.div_ceil(PANEL);
        assert!(self.a.len() >= (m - 1) * self.a_stride + self.depth);
        assert!(
            self.depth <= self.a_stride
                && n <= self.c_stride
                && self.b.len() >= num_panels * self.depth
        );
        let rows = rows_per_task(m, self.depth);
        let num_row_tasks = m.div_ceil(rows);
        let threads = rayon::current_num_threads();
        let panels = (num_panels * num_row_tasks)
            .div_ceil(threads * TASKS_PER_THREAD)
            .next_multiple_of(if m < 3 { 3 } else { 1 });
        let num_panel_tasks = num_panels.div_ceil(panels);
        let task = |index: usize| {
            let (row, panel) = (
                index / num_panel_tasks * rows,
                index % num_panel_tasks * panels,
            );
            let block = Block {
                a: self.a,
                a_stride: self.a_stride,
                b: self.b,
                depth: self.depth,
                c: self.c,
                c_stride: self.c_stride,
                n,
                rows: (row, (row + rows).min(m)),
                panels: (panel, (panel + panels).min(num_panels)),
                into: self.into,
            };
            // SAFETY: a and b were checked to have these rows and panels, c has the places (see
            // `Product`), and no two blocks share one.
            unsafe { kernel.run(&block) };
        };
        let num_tasks = num_row_tasks * num_panel_tasks;
        if num_tasks == 1 || m * n * self.depth < SERIAL_WORK {
            (0..num_tasks).for_each(task);
        } else {
            team::run(num_tasks, task);
        }
    }
}

/// Even shares that fit the cache, in whole tiles.
fn rows_per_task(m: usize, depth: usize) -> usize {
    let most = (LEFT_BLOCK_BYTES / (4 * depth.max(1))).clamp(84, 504);
    m.div_ceil(m.div_ceil(most)).next_multiple_of(14)
}
