//! Three matrix products over row-major matrices that change from call to call: attention and the
//! factors of adapters. Frozen weights are packed, see [`super::packed`].
//!
//! Every element of a result is summed in an order that depends on the inner length alone: not on
//! the number of rows, the tile it falls into, or the number of threads. So a token's numbers are
//! the same in a batch of one and in a batch of a hundred.

#![allow(unsafe_code)]

use super::simd::{SharedMut, Simd, simd_fn};
use super::team;

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

/// A vector that `write` gives all its numbers: memory that is written once need not be cleared.
///
/// # Safety
///
/// `write` writes `len` numbers.
pub(super) unsafe fn written(len: usize, write: impl FnOnce(SharedMut)) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(SharedMut(values.as_mut_ptr()));
    // SAFETY: by the caller's word.
    unsafe { values.set_len(len) };
    values
}

/// `alpha * a[m, k] · b[n, k]ᵀ`, `[m, n]`: both matrices are read along their rows.
pub(super) fn nt(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), alpha: f32) -> Vec<f32> {
    // SAFETY: there is room for m x n numbers, and with `Overwrite` every one is written.
    unsafe {
        written(m * n, |c| {
            nt_at(a, b, c, (m, n, k), alpha, Store::Overwrite)
        })
    }
}

/// `alpha * a[m, k] · b[k, n]`, `[m, n]`.
pub(super) fn nn(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), alpha: f32) -> Vec<f32> {
    // SAFETY: as above.
    unsafe {
        written(m * n, |c| {
            nn_at(a, b, c, (m, n, k), alpha, Store::Overwrite)
        })
    }
}

/// `c[m, n] += a[m, k] · b[k, n]`.
pub(super) fn add_nn(a: &[f32], b: &[f32], c: &mut [f32], (m, n, k): (usize, usize, usize)) {
    assert_eq!(c.len(), m * n);
    // SAFETY: c was borrowed for writing and has the length.
    unsafe {
        nn_at(
            a,
            b,
            SharedMut(c.as_mut_ptr()),
            (m, n, k),
            1.0,
            Store::Accumulate,
        )
    }
}

/// `a[k, m]ᵀ · b[k, n]`, `[m, n]`: sums over the rows of both.
pub(super) fn tn(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) -> Vec<f32> {
    assert!(a.len() == m * k);
    nn(&transposed(a, k, m), b, (m, n, k), 1.0)
}

/// `c[m, n] = alpha * a[m, k] · b[n, k]ᵀ` (or `+=`).
///
/// # Safety
///
/// `c` has room for m x n numbers, which nothing else touches meanwhile, and has values where they
/// are added to.
unsafe fn nt_at(
    a: &[f32],
    b: &[f32],
    c: SharedMut,
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    into: Store,
) {
    assert!(a.len() == m * k && b.len() == n * k);
    if m == 0 || n == 0 {
        return;
    }
    let row_block = rows_per_block(m, k);
    let col_block = if m == 1 { 256 } else { 96 };
    let (num_row_blocks, num_col_blocks) = (m.div_ceil(row_block), n.div_ceil(col_block));
    let task = |index: usize| {
        let (rb, cb) = (index / num_col_blocks, index % num_col_blocks);
        let rows = (rb * row_block, ((rb + 1) * row_block).min(m));
        let cols = (cb * col_block, ((cb + 1) * col_block).min(n));
        nt_block(a, b, c, rows, cols, n, k, alpha, into);
    };
    run(num_row_blocks * num_col_blocks, m * n * k, task);
}

/// `c[m, n] = alpha * a[m, k] · b[k, n]` (or `+=`).
///
/// # Safety
///
/// As for [`nt_at`].
unsafe fn nn_at(
    a: &[f32],
    b: &[f32],
    c: SharedMut,
    (m, n, k): (usize, usize, usize),
    alpha: f32,
    into: Store,
) {
    assert!(a.len() == m * k && b.len() == k * n);
    if m == 0 || n == 0 {
        return;
    }
    // Enough tasks for a few threads; each packs its strips of `b` once for all its rows.
    let (row_block, col_block) = (m.div_ceil(2).clamp(96, 512), 64);
    let (num_row_blocks, num_col_blocks) = (m.div_ceil(row_block), n.div_ceil(col_block));
    let task = |index: usize| {
        let (rb, cb) = (index / num_col_blocks, index % num_col_blocks);
        let rows = (rb * row_block, ((rb + 1) * row_block).min(m));
        let cols = (cb * col_block, ((cb + 1) * col_block).min(n));
        nn_block(a, b, c, rows, cols, n, k, alpha, into);
    };
    run(num_row_blocks * num_col_blocks, m * n * k, task);
}

/// `a[rows, cols]` as `[cols, rows]`.
pub(super) fn transposed(a: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    /// Numbers of a cache line: a square of these lines is read and written whole.
    const SQUARE: usize = 16;
    assert_eq!(a.len(), rows * cols);
    let mut out = vec![0.0; a.len()];
    if a.is_empty() {
        return out;
    }
    let strips = out.chunks_mut(SQUARE * rows);
    let mut strips: Vec<_> = strips.enumerate().collect();
    let turn = |(strip, out): &mut (usize, &mut [f32])| {
        let first = *strip * SQUARE;
        for r0 in (0..rows).step_by(SQUARE) {
            let r1 = (r0 + SQUARE).min(rows);
            for (c, out) in out.chunks_exact_mut(rows).enumerate() {
                for (r, to) in (r0..r1).zip(&mut out[r0..r1]) {
                    *to = a[r * cols + first + c];
                }
            }
        }
    };
    if a.len() < 100_000 {
        strips.iter_mut().for_each(turn);
    } else {
        team::run_parts(&mut strips, 1, |_, strips| strips.iter_mut().for_each(turn));
    }
    out
}

/// Small products are not worth waking the other threads for.
fn run(num_tasks: usize, work: usize, task: impl Fn(usize) + Sync) {
    if num_tasks == 1 || work < 200_000 {
        (0..num_tasks).for_each(task);
    } else {
        team::run(num_tasks, task);
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

/// Terms that are summed in registers before they are added to the result: keeps a strip of the
/// right matrix in the L2 cache, and long sums accurate.
const DEPTH: usize = 1024;

/// From this many rows on, copying a strip together costs less than walking over it row by row.
const PACK_ROWS: usize = 24;

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
    let width = 4 * S::LANES;
    let mut strip = Vec::new();
    let mut first = 0;
    // Once even for k = 0, which stores zeros.
    while first == 0 || first < k {
        let depth = DEPTH.min(k - first);
        let into = if first == 0 { into } else { Store::Accumulate };
        let mut j = cols.0;
        while j < cols.1 {
            let left = (cols.1 - j).min(width);
            // SAFETY: rows and cols lie within a, b and c, whose sizes the caller checked; the
            // tasks' rectangles of c are disjoint; the strip has `depth` rows of `width` floats.
            unsafe {
                let (pb, stride) = if left == width && rows.1 - rows.0 < PACK_ROWS {
                    (b.as_ptr().add(first * n + j), n)
                } else {
                    strip.clear();
                    for row in b.chunks_exact(n).skip(first).take(depth) {
                        strip.extend_from_slice(&row[j..j + left]);
                        strip.resize(strip.len() + width - left, 0.0);
                    }
                    (strip.as_ptr(), width)
                };
                let mut i = rows.0;
                while i < rows.1 {
                    let pa = a.as_ptr().add(i * k + first);
                    let tile = Tile {
                        pa,
                        a_stride: k,
                        pb,
                        b_stride: stride,
                        depth,
                    };
                    let to = (c.at(i * n + j), n, left);
                    i += match rows.1 - i {
                        6.. => nn_tile::<S, 6>(tile, to, alpha, into),
                        4.. => nn_tile::<S, 4>(tile, to, alpha, into),
                        2.. => nn_tile::<S, 2>(tile, to, alpha, into),
                        _ => nn_tile::<S, 1>(tile, to, alpha, into),
                    };
                }
            }
            j += left;
        }
        first += depth.max(1);
    }
}

/// Where a tile of the result comes from.
#[derive(Clone, Copy)]
struct Tile {
    pa: *const f32,
    a_stride: usize,
    pb: *const f32,
    b_stride: usize,
    depth: usize,
}

/// M rows of four vectors; only the first `left` columns are stored.
#[inline(always)]
unsafe fn nn_tile<S: Simd, const M: usize>(
    tile: Tile,
    (c, n, left): (*mut f32, usize, usize),
    alpha: f32,
    into: Store,
) -> usize {
    // SAFETY: the caller gives M rows of a, `depth` rows of four vectors of b, and an M x `left`
    // corner of c.
    unsafe {
        let mut sums = [[S::zero(); 4]; M];
        for p in 0..tile.depth {
            let row = tile.pb.add(p * tile.b_stride);
            let vb: [S::V; 4] = std::array::from_fn(|j| S::load(row.add(j * S::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let va = S::splat(*tile.pa.add(i * tile.a_stride + p));
                for (sum, &vb) in sums.iter_mut().zip(&vb) {
                    *sum = S::fma(va, vb, *sum);
                }
            }
        }
        let scale = S::splat(alpha);
        for (i, row) in sums.iter().enumerate() {
            if left == 4 * S::LANES {
                for (j, &sum) in row.iter().enumerate() {
                    let to = c.add(i * n + j * S::LANES);
                    let value = match into {
                        Store::Overwrite => S::mul(scale, sum),
                        Store::Accumulate => S::fma(scale, sum, S::load(to)),
                    };
                    S::store(to, value);
                }
            } else {
                let mut values = [0.0f32; 64];
                for (j, &sum) in row.iter().enumerate() {
                    S::store(values.as_mut_ptr().add(j * S::LANES), S::mul(scale, sum));
                }
                for (j, &value) in values.iter().enumerate().take(left) {
                    put(c.add(i * n + j), value, into);
                }
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
            close(
                &nt(&a, &b, dims, 1.0),
                &naive(|i, j, p| at(&a, i * k + p) * at(&b, j * k + p), dims),
                k,
            );
            let plain = naive(|i, j, p| at(&a, i * k + p) * at(&b, p * n + j), dims);
            let mut c = nn(&a, &b, dims, 0.5);
            let half: Vec<f64> = plain.iter().map(|x| 0.5 * x).collect();
            close(&c, &half, k);
            add_nn(&a, &b, &mut c, dims);
            let sum: Vec<f64> = plain.iter().map(|x| 1.5 * x).collect();
            close(&c, &sum, k);
            close(
                &tn(&a, &b, dims),
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
            let all = product(&a, &b, (m, n, k), 1.0);
            for i in 0..m {
                let one = product(&a[i * k..(i + 1) * k], &b, (1, n, k), 1.0);
                assert_eq!(one, all[i * n..(i + 1) * n], "row {i}");
            }
        }
    }
}
