use proptest::prelude::*;

use super::super::matmul::Store;
use super::int8::Int8;
use super::int8_kernel::{Int8Kernel, int8_kernels};
use crate::blocks::BLOCK;

fn matrix(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn largest(values: &[f32]) -> f64 {
    values
        .iter()
        .fold(0.0, |max, &x| f64::max(max, f64::from(x.abs())))
}

/// The definition, in double precision, and how far a result may be from it. A number of a block is
/// off by half a step at most, which is the block's largest number over 254.
fn exact(x: &[f32], w: &[f32]) -> (f64, f64) {
    let (mut sum, mut bound, mut size) = (0.0, 0.0, 0.0);
    for (x, w) in x.chunks(BLOCK).zip(w.chunks(BLOCK)) {
        let half_steps = [x, w].map(|values| largest(values) / 254.0);
        for (&x, &w) in x.iter().zip(w) {
            let (x, w) = (f64::from(x), f64::from(w));
            sum += x * w;
            bound += x.abs() * half_steps[1] + w.abs() * half_steps[0];
            bound += half_steps[0] * half_steps[1];
            size += x.abs() * w.abs();
        }
    }
    let num_blocks = x.len().div_ceil(BLOCK) as f64;
    // The rounding of scales and of sums over the blocks.
    (
        sum,
        bound * 1.001 + (num_blocks + 8.0) * (size + bound) / (1 << 23) as f64 + 1e-30,
    )
}

fn product(kernel: Int8Kernel, packed: &Int8, x: &[f32], m: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; m * packed.shape()[0]];
    packed.forward_by(kernel, x, m, &mut y);
    y
}

fn check([m, out, width]: [usize; 3], seed: u32) {
    let weight = matrix(out * width, seed);
    let packed = Int8::new(&weight, [out, width]);
    let x = matrix(m * width, seed ^ 1);
    let mut results = Vec::new();
    for kernel in int8_kernels() {
        let y = product(kernel, &packed, &x, m);
        for (i, y) in y.chunks(out.max(1)).enumerate() {
            for (j, &y) in y.iter().enumerate() {
                let x = &x[i * width..(i + 1) * width];
                let (want, bound) = exact(x, &weight[j * width..(j + 1) * width]);
                let error = (f64::from(y) - want).abs();
                let name = kernel.name;
                assert!(
                    error <= bound,
                    "{name}: y[{i}, {j}] is off by {error:e} > {bound:e}"
                );
            }
        }
        results.push((kernel.name, y));
    }
    // Plain Rust rounds once more where the processor has no fused multiplication.
    let fused = |name: &str| {
        name != "portable" || cfg!(any(target_arch = "aarch64", target_feature = "fma"))
    };
    results.retain(|(name, _)| fused(name));
    assert!(results.windows(2).all(|pair| pair[0].1 == pair[1].1));

    let dy = matrix(m * out, seed ^ 2);
    let before = matrix(m * width, seed ^ 3);
    let (mut dx, mut sum) = (vec![f32::NAN; m * width], before.clone());
    packed.backward(&dy, &mut dx, m, Store::Overwrite);
    packed.backward(&dy, &mut sum, m, Store::Accumulate);
    let widened = packed.unpacked();
    for at in 0..m * width {
        let (i, p) = (at / width, at % width);
        let (mut want, mut size) = (0.0, f64::from(before[at].abs()));
        for j in 0..out {
            let term = f64::from(dy[i * out + j]) * f64::from(widened[j * width + p]);
            want += term;
            size += term.abs();
        }
        let bound = (out + 3) as f64 * size / (1 << 23) as f64 + 1e-30;
        assert!((f64::from(dx[at]) - want).abs() <= bound, "dx[{i}, {p}]");
        let got = f64::from(sum[at]) - f64::from(before[at]);
        assert!((got - want).abs() <= bound, "+= at [{i}, {p}]");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_within_the_bound(
        m in 0_usize..20, out in 0_usize..100, width in 0_usize..200, seed: u32,
    ) {
        check([m, out, width], seed);
    }

    #[test]
    fn a_weight_is_off_by_half_a_step(out in 0_usize..70, width in 0_usize..200, seed: u32) {
        let weight = matrix(out * width, seed);
        let packed = Int8::new(&weight, [out, width]);
        let widened = packed.unpacked();
        for (row, got) in weight.chunks(width.max(1)).zip(widened.chunks(width.max(1))) {
            for (row, got) in row.chunks(BLOCK).zip(got.chunks(BLOCK)) {
                let half_step = largest(row) / 254.0;
                for (want, got) in row.iter().zip(got) {
                    prop_assert!(f64::from((want - got).abs()) <= half_step * 1.0001);
                }
            }
        }
        // What is rounded already does not change again.
        prop_assert_eq!(&Int8::new(&widened, [out, width]).unpacked(), &widened);
        let picked: Vec<usize> = (0..out).rev().step_by(3).collect();
        let rows: Vec<f32> = picked
            .iter()
            .flat_map(|row| widened[row * width..(row + 1) * width].to_vec())
            .collect();
        prop_assert_eq!(packed.rows(&picked), rows);
    }
}

#[test]
fn many_rows_and_long_sums_are_within_the_bound() {
    check([3, 50, 1700], 1);
    check([2, 1650, 40], 2);
    check([530, 70, 65], 3);
}

#[test]
fn a_row_depends_neither_on_its_batch_nor_on_the_threads() {
    let (m, out, width) = (67, 330, 801);
    let packed = Int8::new(&matrix(out * width, 1), [out, width]);
    let x = matrix(m * width, 2);
    for kernel in int8_kernels() {
        let all = product(kernel, &packed, &x, m);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let again = pool.install(|| product(kernel, &packed, &x, m));
            assert!(again == all, "{}: {threads} threads", kernel.name);
        }
        for batch in [1, 2, 3, 4, 5, 6, 7, 13, 40] {
            for first in (0..m).step_by(batch) {
                let rows = first..(first + batch).min(m);
                let part = &x[rows.start * width..rows.end * width];
                let y = product(kernel, &packed, part, rows.len());
                assert!(
                    y == all[rows.start * out..rows.end * out],
                    "{}: {batch}",
                    kernel.name
                );
            }
        }
    }
}

#[test]
fn extremes_are_exact_or_stay_in_their_row() {
    // The largest products and sums that there can be.
    let (out, width) = (40, 3 * BLOCK);
    for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
        let packed = Int8::new(&vec![w; out * width], [out, width]);
        for kernel in int8_kernels() {
            let y = product(kernel, &packed, &vec![x; width], 1);
            let want = x * w * width as f32;
            assert!(
                y.iter().all(|y| (y / want - 1.0).abs() < 1e-6),
                "{}",
                kernel.name
            );
        }
    }
    let packed = Int8::new(&matrix(33 * 100, 8), [33, 100]);
    let tiny = Int8::new(&[0.0, 1e-44, -1e-44, 0.0], [2, 2]);
    assert!(tiny.unpacked().iter().all(|x| x.abs() <= 1e-44));
    for kernel in int8_kernels() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = matrix(3 * 100, 7);
            x[145] = odd;
            let y = product(kernel, &packed, &x, 3);
            let is_nan: Vec<bool> = y.iter().map(|y| y.is_nan()).collect();
            let name = kernel.name;
            assert!(
                (0..99).all(|i| is_nan[i] == (33..66).contains(&i)),
                "{name}: {odd}"
            );
        }
        assert_eq!(product(kernel, &packed, &[0.0; 100], 1), [0.0; 33]);
    }
}

#[test]
fn bytes_take_about_a_quarter_of_the_memory() {
    let packed = Int8::new(&matrix(64 * 128, 9), [64, 128]);
    assert_eq!(packed.num_bytes(), 64 * 128 * 17 / 16);
}
