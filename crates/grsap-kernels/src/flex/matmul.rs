//! Three matrix products over row-major matrices, without packing.
//!
//! Every element of a result is summed in an order that depends on the inner length alone: not on
//! the number of rows, the tile it falls into, or the number of threads. So a token's numbers are
//! the same in a batch of one and in a batch of a hundred.

#![allow(unsafe_code)]

use rayon::prelude::*;

use super::simd::{SharedMut, Simd, simd_fn};

/// What happens to the old content of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Overwrite,
    Accumulate,
}

/// Bytes of the left matrix that a task walks over again and again: half of a small L2 cache.
const LEFT_BLOCK_BYTES: usize = 256 * 1024;

fn rows_per_block(m: usize, k: usize) -> usize {
    (LEFT_BLOCK_BYTES / (4 * k.max(1)))
        .clamp(12, 240)
        .min(m.max(1))
}

/// `c[m, n] = alpha * a[m, k] · b[n, k]ᵀ` (or `+=`): both matrices are read along their rows.
#[allow(clippy::too_many_arguments)]
pub(super) fn nt(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    into: Store,
) {
    assert!(a.len() == m * k && b.len() == n * k && c.len() == m * n);
    if m == 0 || n == 0 {
        return;
    }
    let row_block = rows_per_block(m, k);
    let col_block = if m == 1 { 256 } else { 96 };
    let (num_row_blocks, num_col_blocks) = (m.div_ceil(row_block), n.div_ceil(col_block));
    let c = SharedMut(c.as_mut_ptr());
    let task = |index: usize| {
        let (rb, cb) = (index / num_col_blocks, index % num_col_blocks);
        let rows = (rb * row_block, ((rb + 1) * row_block).min(m));
        let cols = (cb * col_block, ((cb + 1) * col_block).min(n));
        nt_block(a, b, c, rows, cols, n, k, alpha, into);
    };
    run(num_row_blocks * num_col_blocks, m * n * k, task);
}

/// `c[m, n] = alpha * a[m, k] · b[k, n]` (or `+=`).
#[allow(clippy::too_many_arguments)]
pub(super) fn nn(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    into: Store,
) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    if m == 0 || n == 0 {
        return;
    }
    let row_block = rows_per_block(m, k);
    let col_block = 64;
    let (num_row_blocks, num_col_blocks) = (m.div_ceil(row_block), n.div_ceil(col_block));
    let c = SharedMut(c.as_mut_ptr());
    let task = |index: usize| {
        let (rb, cb) = (index / num_col_blocks, index % num_col_blocks);
        let rows = (rb * row_block, ((rb + 1) * row_block).min(m));
        let cols = (cb * col_block, ((cb + 1) * col_block).min(n));
        nn_block(a, b, c, rows, cols, n, k, alpha, into);
    };
    run(num_row_blocks * num_col_blocks, m * n * k, task);
}

/// `c[m, n] = alpha * a[k, m]ᵀ · b[k, n]` (or `+=`): sums over the rows of both.
pub(super) fn tn(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    into: Store,
) {
    assert!(a.len() == m * k);
    nn(&transposed(a, k, m), b, c, (m, n, k), alpha, into);
}

/// `a[rows, cols]` as `[cols, rows]`.
pub(super) fn transposed(a: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    if cols > 0 {
        for (r, row) in a.chunks_exact(cols).enumerate() {
            for (c, &value) in row.iter().enumerate() {
                out[c * rows + r] = value;
            }
        }
    }
    out
}

/// Small products are not worth waking the other threads for.
fn run(num_tasks: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if num_tasks == 1 || work < 200_000 {
        (0..num_tasks).for_each(task);
    } else {
        (0..num_tasks).into_par_iter().for_each(task);
    }
}

simd_fn! {
    fn nt_block(
        a: &[f32], b: &[f32], c: SharedMut,
        rows: (usize, usize), cols: (usize, usize),
        n: usize, k: usize, alpha: f32, into: Store,
    ) = nt_block_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn nt_block_body<S: Simd>(
    a: &[f32],
    b: &[f32],
    c: SharedMut,
    rows: (usize, usize),
    cols: (usize, usize),
    n: usize,
    k: usize,
    alpha: f32,
    into: Store,
) {
    // SAFETY: rows and cols lie within a, b and c, whose sizes the caller checked; the tasks'
    // rectangles of c are disjoint.
    unsafe {
        let mut j = cols.0;
        while j < cols.1 {
            let wide = cols.1 - j >= 4;
            let pb = b.as_ptr().add(j * k);
            let mut i = rows.0;
            while i < rows.1 {
                let pa = a.as_ptr().add(i * k);
                let pc = c.at(i * n + j);
                let left = rows.1 - i;
                i += match (wide, left) {
                    (true, 6..) => nt_tile::<S, 6, 4>(pa, pb, pc, n, k, alpha, into),
                    (true, 4..) => nt_tile::<S, 4, 4>(pa, pb, pc, n, k, alpha, into),
                    (true, 2..) => nt_tile::<S, 2, 4>(pa, pb, pc, n, k, alpha, into),
                    (true, _) => nt_tile::<S, 1, 4>(pa, pb, pc, n, k, alpha, into),
                    (false, 4..) => nt_tile::<S, 4, 1>(pa, pb, pc, n, k, alpha, into),
                    (false, _) => nt_tile::<S, 1, 1>(pa, pb, pc, n, k, alpha, into),
                };
            }
            j += if wide { 4 } else { 1 };
        }
    }
}

#[inline(always)]
unsafe fn nt_tile<S: Simd, const M: usize, const N: usize>(
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    n: usize,
    k: usize,
    alpha: f32,
    into: Store,
) -> usize {
    // SAFETY: the caller gives M rows of a, N rows of b (k floats each) and an M x N corner of c.
    unsafe {
        let mut sums = [[S::zero(); N]; M];
        let mut p = 0;
        while p + S::LANES <= k {
            let vb: [S::V; N] = std::array::from_fn(|j| S::load(b.add(j * k + p)));
            for (i, row) in sums.iter_mut().enumerate() {
                let va = S::load(a.add(i * k + p));
                for (sum, &vb) in row.iter_mut().zip(&vb) {
                    *sum = S::fma(va, vb, *sum);
                }
            }
            p += S::LANES;
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let mut value = S::sum(sum);
                for q in p..k {
                    value += *a.add(i * k + q) * *b.add(j * k + q);
                }
                put(c.add(i * n + j), alpha * value, into);
            }
        }
    }
    M
}

#[inline(always)]
unsafe fn put(to: *mut f32, value: f32, into: Store) {
    // SAFETY: the caller gives a writable place.
    unsafe {
        match into {
            Store::Overwrite => *to = value,
            Store::Accumulate => *to += value,
        }
    }
}

simd_fn! {
    fn nn_block(
        a: &[f32], b: &[f32], c: SharedMut,
        rows: (usize, usize), cols: (usize, usize),
        n: usize, k: usize, alpha: f32, into: Store,
    ) = nn_block_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn nn_block_body<S: Simd>(
    a: &[f32],
    b: &[f32],
    c: SharedMut,
    rows: (usize, usize),
    cols: (usize, usize),
    n: usize,
    k: usize,
    alpha: f32,
    into: Store,
) {
    // SAFETY: as in `nt_block_body`.
    unsafe {
        let mut first = 0;
        while first < k {
            let depth = DEPTH.min(k - first);
            let into = if first == 0 { into } else { Store::Accumulate };
            nn_panel::<S>(a, b, c, rows, cols, n, k, (first, depth), alpha, into);
            first += depth;
        }
        if k == 0 && into == Store::Overwrite {
            for i in rows.0..rows.1 {
                for j in cols.0..cols.1 {
                    *c.at(i * n + j) = 0.0;
                }
            }
        }
    }
}

/// Terms that are summed in registers before they are added to the result: keeps a strip of the
/// right matrix in the L2 cache, and long sums accurate.
const DEPTH: usize = 1024;

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn nn_panel<S: Simd>(
    a: &[f32],
    b: &[f32],
    c: SharedMut,
    rows: (usize, usize),
    cols: (usize, usize),
    n: usize,
    stride: usize,
    (first, k): (usize, usize),
    alpha: f32,
    into: Store,
) {
    // SAFETY: as in `nt_block_body`; first + k is at most the inner length.
    unsafe {
        let mut j = cols.0;
        while j < cols.1 {
            let left = cols.1 - j;
            let pb = b.as_ptr().add(first * n + j);
            let mut i = rows.0;
            while i < rows.1 {
                let pa = a.as_ptr().add(i * stride + first);
                let pc = c.at(i * n + j);
                let six = rows.1 - i >= 6;
                i += if left >= 4 * S::LANES {
                    match six {
                        true => nn_tile::<S, 6, 4>(pa, pb, pc, n, stride, k, alpha, into),
                        false => nn_tile::<S, 1, 4>(pa, pb, pc, n, stride, k, alpha, into),
                    }
                } else if left >= S::LANES {
                    match six {
                        true => nn_tile::<S, 6, 1>(pa, pb, pc, n, stride, k, alpha, into),
                        false => nn_tile::<S, 1, 1>(pa, pb, pc, n, stride, k, alpha, into),
                    }
                } else {
                    for col in 0..left {
                        let mut value = 0.0;
                        for p in 0..k {
                            value += *pa.add(p) * *pb.add(p * n + col);
                        }
                        put(pc.add(col), alpha * value, into);
                    }
                    1
                };
            }
            j += if left >= 4 * S::LANES {
                4 * S::LANES
            } else if left >= S::LANES {
                S::LANES
            } else {
                left
            };
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn nn_tile<S: Simd, const M: usize, const N: usize>(
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    n: usize,
    stride: usize,
    k: usize,
    alpha: f32,
    into: Store,
) -> usize {
    // SAFETY: the caller gives M rows of a, k rows of b and an M x (N vectors) corner of b and c.
    unsafe {
        let mut sums = [[S::zero(); N]; M];
        for p in 0..k {
            let row = b.add(p * n);
            let vb: [S::V; N] = std::array::from_fn(|j| S::load(row.add(j * S::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let va = S::splat(*a.add(i * stride + p));
                for (sum, &vb) in sums.iter_mut().zip(&vb) {
                    *sum = S::fma(va, vb, *sum);
                }
            }
        }
        let alpha = S::splat(alpha);
        for (i, row) in sums.iter().enumerate() {
            for (j, &sum) in row.iter().enumerate() {
                let to = c.add(i * n + j * S::LANES);
                let value = match into {
                    Store::Overwrite => S::mul(alpha, sum),
                    Store::Accumulate => S::fma(alpha, sum, S::load(to)),
                };
                S::store(to, value);
            }
        }
    }
    M
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn naive(
        get: impl Fn(usize, usize, usize) -> f64,
        (m, n, k): (usize, usize, usize),
    ) -> Vec<f64> {
        let mut c = Vec::new();
        for i in 0..m {
            for j in 0..n {
                c.push((0..k).map(|p| get(i, j, p)).sum());
            }
        }
        c
    }

    fn close(got: &[f32], want: &[f64], k: usize) {
        for (g, w) in got.iter().zip(want) {
            assert!(
                (f64::from(*g) - w).abs() < 1e-6 * (k as f64).max(4.0),
                "{g} is not {w}"
            );
        }
    }

    const SHAPES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (1, 7, 5),
        (3, 4, 16),
        (5, 33, 17),
        (6, 64, 48),
        (7, 65, 100),
        (13, 96, 576),
        (50, 130, 31),
        (257, 70, 64),
    ];

    #[test]
    fn products_equal_the_definition_on_odd_shapes() {
        for dims @ (m, n, k) in SHAPES {
            let a = matrix(m * k, 1);
            let b = matrix(n * k, 2);
            let at = |x: &[f32], i: usize| f64::from(x[i]);
            let mut c = vec![f32::NAN; m * n];
            nt(&a, &b, &mut c, dims, 1.0, Store::Overwrite);
            close(
                &c,
                &naive(|i, j, p| at(&a, i * k + p) * at(&b, j * k + p), dims),
                k,
            );
            nn(&a, &b, &mut c, dims, 1.0, Store::Overwrite);
            close(
                &c,
                &naive(|i, j, p| at(&a, i * k + p) * at(&b, p * n + j), dims),
                k,
            );
            tn(&a, &b, &mut c, dims, 0.5, Store::Overwrite);
            close(
                &c,
                &naive(|i, j, p| 0.5 * at(&a, p * m + i) * at(&b, p * n + j), dims),
                k,
            );
            tn(&a, &b, &mut c, dims, 0.5, Store::Accumulate);
            close(
                &c,
                &naive(|i, j, p| at(&a, p * m + i) * at(&b, p * n + j), dims),
                k,
            );
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_batch() {
        let (m, n, k) = (41, 130, 100);
        let a = matrix(m * k, 3);
        let b = matrix(n * k, 4);
        for product in [nt, nn] {
            let mut all = vec![0.0; m * n];
            product(&a, &b, &mut all, (m, n, k), 1.0, Store::Overwrite);
            for i in 0..m {
                let mut one = vec![0.0; n];
                product(
                    &a[i * k..(i + 1) * k],
                    &b,
                    &mut one,
                    (1, n, k),
                    1.0,
                    Store::Overwrite,
                );
                assert_eq!(one, all[i * n..(i + 1) * n], "row {i}");
            }
        }
    }
}
