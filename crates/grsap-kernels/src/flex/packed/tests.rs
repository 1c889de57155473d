use proptest::prelude::*;

use super::super::matmul::Store;
use super::kernel::{Kernel, bf16_kernels, f32_kernels};
use super::matrix::Packed;
use super::word::Word;

/// Half the distance from 1 to the next number.
const F32_ROUNDING: f64 = 1.0 / (1 << 24) as f64;
const BF16_ROUNDING: f64 = 1.0 / (1 << 8) as f64;

fn matrix(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// An element of the exact product, and the sum of the absolute terms, which errors are measured by.
fn exact(terms: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), (a, b)| {
        let term = f64::from(a) * f64::from(b);
        (sum + term, size + term.abs())
    })
}

/// `error <= ((1 + u)^(k + 1) - 1) size` for k additions of products (Higham, section 3.1), and
/// the rounding of both factors before.
fn bound(k: usize, size: f64, inputs: f64) -> f64 {
    let sum = ((k + 1) as f64 * F32_ROUNDING).exp_m1();
    size * ((1.0 + sum) * (1.0 + inputs).powi(2) - 1.0) + 1e-30
}

fn check<W: Word>(kernel: Kernel<W>, [m, out, width]: [usize; 3], seed: u32, inputs: f64) {
    let name = kernel.name;
    let weight = matrix(out * width, seed);
    let packed = Packed::<W>::new(&weight, [out, width]);
    let x = matrix(m * width, seed ^ 1);
    let y = packed.forward_by(kernel, &x, m);
    assert_eq!(y.len(), m * out);
    for (i, y) in y.chunks(out.max(1)).enumerate() {
        for (j, &y) in y.iter().enumerate() {
            let terms = (0..width).map(|p| (x[i * width + p], weight[j * width + p]));
            let (want, size) = exact(terms);
            let error = (f64::from(y) - want).abs();
            assert!(
                error <= bound(width, size, inputs),
                "{name}: y[{i}, {j}] is off by {error:e}"
            );
        }
    }
    let dy = matrix(m * out, seed ^ 2);
    let before = matrix(m * width, seed ^ 3);
    let (mut dx, mut sum) = (vec![f32::NAN; m * width], before.clone());
    packed.backward_by(kernel, &dy, &mut dx, m, Store::Overwrite);
    packed.backward_by(kernel, &dy, &mut sum, m, Store::Accumulate);
    for i in 0..m {
        for p in 0..width {
            let terms = (0..out).map(|j| (dy[i * out + j], weight[j * width + p]));
            let (want, size) = exact(terms);
            let at = i * width + p;
            let error = (f64::from(dx[at]) - want).abs();
            assert!(
                error <= bound(out, size, inputs),
                "{name}: dx[{i}, {p}] is off by {error:e}"
            );
            let first = f64::from(before[at]);
            let error = (f64::from(sum[at]) - first - want).abs();
            let bound = bound(out + 1, size + first.abs(), inputs);
            assert!(
                error <= bound,
                "{name}: += at [{i}, {p}] is off by {error:e}"
            );
        }
    }
}

fn check_all(shape: [usize; 3], seed: u32) {
    for kernel in f32_kernels() {
        check(kernel, shape, seed, 0.0);
    }
    for kernel in bf16_kernels() {
        check(kernel, shape, seed, BF16_ROUNDING);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_are_within_the_bound(
        m in 0_usize..40, out in 0_usize..140, width in 0_usize..140, seed: u32,
    ) {
        check_all([m, out, width], seed);
    }

    #[test]
    fn packing_loses_nothing_but_rounding(out in 0_usize..100, width in 0_usize..70, seed: u32) {
        let weight = matrix(out * width, seed);
        let shape = [out, width];
        prop_assert_eq!(&Packed::<f32>::new(&weight, shape).unpacked(), &weight);
        let rounded: Vec<f32> =
            weight.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        let packed = Packed::<u32>::new(&weight, shape);
        prop_assert_eq!(&packed.unpacked(), &rounded);
        // What is rounded already does not change again.
        prop_assert_eq!(&Packed::<u32>::new(&rounded, shape).unpacked(), &rounded);
        let picked: Vec<usize> = (0..out).rev().step_by(3).collect();
        let rows: Vec<f32> = picked
            .iter()
            .flat_map(|row| rounded[row * width..(row + 1) * width].to_vec())
            .collect();
        prop_assert_eq!(packed.rows(&picked), rows);
    }
}

#[test]
fn long_sums_and_many_rows_are_within_the_bound() {
    // More than a piece of the inner dimension on both sides, and more than a block of rows.
    check_all([3, 50, 1700], 1);
    check_all([2, 1650, 40], 2);
    check_all([530, 70, 65], 3);
}

/// The bytes of a product, forward and backward.
fn bytes<W: Word>(
    kernel: Kernel<W>,
    packed: &Packed<W>,
    x: &[f32],
    dy: &[f32],
    m: usize,
) -> [Vec<u32>; 2] {
    let mut dx = vec![0.0; m * packed.width];
    packed.backward_by(kernel, dy, &mut dx, m, Store::Overwrite);
    [packed.forward_by(kernel, x, m), dx]
        .map(|values| values.into_iter().map(f32::to_bits).collect())
}

fn same_for_any_batch_and_threads<W: Word>(kernels: Vec<Kernel<W>>) {
    let (m, out, width) = (67, 330, 801);
    let packed = Packed::<W>::new(&matrix(out * width, 1), [out, width]);
    let (x, dy) = (matrix(m * width, 2), matrix(m * out, 3));
    for kernel in kernels {
        let all = bytes(kernel, &packed, &x, &dy, m);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let again = pool.install(|| bytes(kernel, &packed, &x, &dy, m));
            assert!(again == all, "{}: {threads} threads", kernel.name);
        }
        for batch in (1..16).chain([27, 40]) {
            for first in (0..m).step_by(batch) {
                let rows = first..(first + batch).min(m);
                let part = |values: &'_ [f32], width: usize| {
                    values[rows.start * width..rows.end * width].to_vec()
                };
                let [y, dx] = bytes(
                    kernel,
                    &packed,
                    &part(&x, width),
                    &part(&dy, out),
                    rows.len(),
                );
                let name = kernel.name;
                assert!(
                    y == all[0][rows.start * out..rows.end * out],
                    "{name}: y, {batch}"
                );
                assert!(
                    dx == all[1][rows.start * width..rows.end * width],
                    "{name}: dx, {batch}"
                );
            }
        }
    }
}

#[test]
fn a_row_depends_neither_on_its_batch_nor_on_the_threads() {
    same_for_any_batch_and_threads(f32_kernels());
    same_for_any_batch_and_threads(bf16_kernels());
}

#[test]
fn instruction_sets_agree_to_the_last_bit() {
    let (m, out, width) = (19, 131, 1571);
    let weight = matrix(out * width, 4);
    let (x, dy) = (matrix(m * width, 5), matrix(m * out, 6));
    // Plain Rust rounds the products of f32 where the processor has no fused multiplication.
    let packed = Packed::new(&weight, [out, width]);
    let fused = f32_kernels().into_iter().filter(|kernel| {
        kernel.name != "portable" || cfg!(any(target_arch = "aarch64", target_feature = "fma"))
    });
    let results: Vec<_> = fused
        .map(|kernel| bytes(kernel, &packed, &x, &dy, m))
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    // The products of bf16 are exact.
    let packed = Packed::new(&weight, [out, width]);
    for pair in bf16_kernels().windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|kernel| bytes(kernel, &packed, &x, &dy, m));
        assert!(a == b, "{} and {} differ", pair[0].name, pair[1].name);
    }
}

#[test]
fn bf16_rounds_to_nearest_even_and_keeps_what_is_not_finite() {
    let cases = [
        (1.0, 1.0),
        (1.0 + 1.0 / 256.0, 1.0),
        (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
        (-1.0 - 1.0 / 256.0 - 1e-6, -1.0 - 2.0 / 256.0),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (1e-40, 0.0),
        (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
    ];
    for (x, want) in cases {
        let packed = Packed::<u32>::new(&[x], [1, 1]);
        assert_eq!(packed.unpacked(), [want], "{x}");
    }
    for x in [
        f32::NAN,
        f32::from_bits(0x7F80_0001),
        f32::from_bits(0xFF80_FFFF),
    ] {
        assert!(Packed::<u32>::new(&[x], [1, 1]).unpacked()[0].is_nan());
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let mut x = matrix(3 * 40, 7);
    x[45] = f32::NAN;
    let weight = matrix(33 * 40, 8);
    for kernel in f32_kernels() {
        let y = Packed::new(&weight, [33, 40]).forward_by(kernel, &x, 3);
        let is_nan: Vec<bool> = y.iter().map(|y| y.is_nan()).collect();
        assert!(
            (0..99).all(|i| is_nan[i] == (33..66).contains(&i)),
            "{}",
            kernel.name
        );
    }
}

#[test]
fn bf16_halves_the_memory() {
    let weight = matrix(64 * 100, 9);
    assert_eq!(Packed::<f32>::new(&weight, [64, 100]).num_bytes(), 4 * 6400);
    assert_eq!(Packed::<u32>::new(&weight, [64, 100]).num_bytes(), 2 * 6400);
}
