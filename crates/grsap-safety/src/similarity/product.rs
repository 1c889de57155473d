//! Products of matrices: the one place that calls the BLAS-like kernel.
//!
//! An element of a result is summed in an order that knows the inner dimension alone. So the numbers
//! do not depend on how rows are cut into blocks, nor on the number of threads.

#![allow(unsafe_code)]

/// Rows that one task multiplies: enough to keep the kernel busy, few enough for the caches.
pub(crate) const BLOCK: usize = 512;

/// An element that there is a kernel for.
pub(crate) trait Element: Copy {
    /// `out = a bᵀ` with `a` `[rows_a, dim]`, `b` `[rows_b, dim]`, `out` `[rows_a, rows_b]`, all
    /// row-major.
    fn rows_by_rows(a: &[Self], b: &[Self], dim: usize, out: &mut [Self]);
}

macro_rules! element {
    ($type:ty, $kernel:path) => {
        impl Element for $type {
            fn rows_by_rows(a: &[Self], b: &[Self], dim: usize, out: &mut [Self]) {
                assert!(dim > 0 && a.len().is_multiple_of(dim) && b.len().is_multiple_of(dim));
                let (rows_a, rows_b) = (a.len() / dim, b.len() / dim);
                assert_eq!(out.len(), rows_a * rows_b);
                let (wide, to) = (dim as isize, rows_b as isize);
                // SAFETY: the lengths were checked above, and `out` is borrowed alone. With `beta`
                // 0 the kernel does not read it.
                unsafe {
                    $kernel(
                        rows_a,
                        dim,
                        rows_b,
                        1.0,
                        a.as_ptr(),
                        wide,
                        1,
                        b.as_ptr(),
                        1,
                        wide,
                        0.0,
                        out.as_mut_ptr(),
                        to,
                        1,
                    );
                }
            }
        }
    };
}
element!(f32, matrixmultiply::sgemm);
element!(f64, matrixmultiply::dgemm);

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn random(name: &str, len: usize) -> Vec<f32> {
        let mut rng = grsap_core::rng(1, name, &[]);
        (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn it_multiplies() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.5, 0.0, 1.0, -1.0, 1.0]);
        let mut out = [f32::NAN; 6];
        f32::rows_by_rows(&a, &b, 2, &mut out);
        assert_eq!(out, [2.0, 2.0, 1.0, 5.0, 4.0, 1.0]);
        let mut out = [0.0; 6];
        f64::rows_by_rows(&a.map(f64::from), &b.map(f64::from), 2, &mut out);
        assert_eq!(out, [2.0, 2.0, 1.0, 5.0, 4.0, 1.0]);
    }

    #[test]
    fn cutting_rows_into_blocks_changes_no_bit() {
        let dim = 700;
        let (a, b) = (random("a", 37 * dim), random("b", 90 * dim));
        let mut whole = vec![0.0; 37 * 90];
        f32::rows_by_rows(&a, &b, dim, &mut whole);
        for (at, row) in a.chunks(dim).enumerate() {
            for (column, other) in b.chunks(5 * dim).enumerate() {
                let mut out = [0.0; 5];
                f32::rows_by_rows(row, other, dim, &mut out);
                let from = at * 90 + column * 5;
                assert_eq!(out, whole[from..from + 5]);
            }
        }
    }
}
