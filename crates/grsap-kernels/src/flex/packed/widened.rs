//! Products with a weight that is kept in few bits and widened to `f32` a few panels at a time.

#![allow(unsafe_code)]

use super::super::matmul::Store;
use super::super::simd::SharedMut;
use super::super::team;
use super::kernel::f32_kernel;
use super::matrix::{PANEL, Packed, Row};
use super::product::PANELS_AT_A_TIME;

/// A weight `[out, in]` in panels, as [`Packed`].
pub(super) trait Widen: Sync + Sized {
    fn shape(&self) -> [usize; 2];

    /// Writes a panel: a row for each input.
    fn widen(&self, panel: usize, to: &mut [Row<f32>]);

    /// `x[m, in] · weightᵀ` into `y[m, out]`.
    ///
    /// # Panics
    ///
    /// When `x` or `y` is not a whole number of rows.
    fn product_into(&self, x: &[f32], m: usize, y: &mut [f32]) {
        let [out, width] = self.shape();
        assert!(x.len() == m * width && y.len() == m * out);
        if m == 0 || width == 0 {
            y.fill(0.0);
            return;
        }
        self.in_parts(|first, part| {
            // SAFETY: y was borrowed for writing and has m rows of `out` numbers; the part's columns
            // lie in them.
            unsafe {
                let to = SharedMut(y.as_mut_ptr().add(first));
                part.write_product(f32_kernel(), x, m, to, out);
            }
        });
    }

    /// `dx[m, in] = dy[m, out] · weight`, or `+=`.
    ///
    /// # Panics
    ///
    /// When `dy` or `dx` is not a whole number of rows.
    fn product_back(&self, dy: &[f32], dx: &mut [f32], m: usize, mut into: Store) {
        let [out, width] = self.shape();
        assert!(dy.len() == m * out && dx.len() == m * width);
        if m == 0 || width == 0 {
            return;
        }
        if out == 0 {
            if into == Store::Overwrite {
                dx.fill(0.0);
            }
            return;
        }
        self.in_parts(|first, part| {
            part.add_back(f32_kernel(), (&dy[first..], out), dx, m, into);
            into = Store::Accumulate;
        });
    }

    /// Some outputs after the others: the first of them, and their weights.
    fn in_parts(&self, mut with: impl FnMut(usize, &Packed<f32>)) {
        let [out, width] = self.shape();
        let mut part = Packed {
            rows: Vec::new(),
            out: 0,
            width,
        };
        for first in (0..out).step_by(PANELS_AT_A_TIME * PANEL) {
            part.out = (PANELS_AT_A_TIME * PANEL).min(out - first);
            let num_rows = part.out.div_ceil(PANEL) * width;
            part.rows.resize(num_rows, Row::ZERO);
            team::run_parts(&mut part.rows, width, |panel, rows| {
                self.widen(first / PANEL + panel, rows);
            });
            with(first, &part);
        }
    }
}
