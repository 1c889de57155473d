//! What a packed matrix holds, and how numbers get in and out.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::sync::Mutex;

use super::super::simd::{Simd, simd_fn};
use super::super::team;
use super::kernel::{Kernel, bf16_kernel, f32_kernel};
use super::matrix::{PANEL, Row};

/// Elements for which a task of its own pays, when a left matrix is rounded.
const ELEMENTS_PER_TASK: usize = 1 << 15;

/// Thirty-two bits of a matrix: an `f32`, or two `bf16` that follow one another along the inner
/// dimension.
pub(in crate::flex) trait Word: Copy + Send + Sync + 'static {
    /// Elements in a word.
    const ELEMENTS: usize;
    const ZERO: Self;

    /// One word of a row; a missing second element is zero.
    fn from_elements(elements: &[f32]) -> Self;

    fn element(self, index: usize) -> f32;

    /// The left matrix of a product, `rows` x `width`, each row in whole words.
    fn left(a: &[f32], width: usize) -> Cow<'_, [Self]>;

    /// Exchanges the inner dimension, [`PANEL`] elements of it, with the columns.
    fn exchange(from: &[Row<Self>], to: &mut [Row<Self>]);

    fn kernel() -> Kernel<Self>;

    /// Memory that is used again and again: cleared once, and always there.
    fn scratch() -> &'static Mutex<Vec<Row<Self>>>;
}

impl Word for f32 {
    const ELEMENTS: usize = 1;
    const ZERO: Self = 0.0;

    fn from_elements(elements: &[f32]) -> Self {
        elements.first().copied().unwrap_or_default()
    }

    fn element(self, _index: usize) -> f32 {
        self
    }

    fn left(a: &[f32], _width: usize) -> Cow<'_, [f32]> {
        a.into()
    }

    fn exchange(from: &[Row<f32>], to: &mut [Row<f32>]) {
        for (i, from) in from.as_chunks::<4>().0.iter().enumerate() {
            for (j, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                exchange_four(from, 4 * j, to, 4 * i);
            }
        }
    }

    fn kernel() -> Kernel<f32> {
        f32_kernel()
    }

    fn scratch() -> &'static Mutex<Vec<Row<f32>>> {
        static ROWS: Mutex<Vec<Row<f32>>> = Mutex::new(Vec::new());
        &ROWS
    }
}

/// Two `bf16`, the first in the low half.
impl Word for u32 {
    const ELEMENTS: usize = 2;
    const ZERO: Self = 0;

    #[inline(always)]
    fn from_elements(elements: &[f32]) -> Self {
        let bits = |index: usize| elements.get(index).map_or(0, |&x| bf16_bits(x));
        (bits(0) >> 16) | bits(1)
    }

    fn element(self, index: usize) -> f32 {
        f32::from_bits(if index == 0 { self << 16 } else { self & HIGH })
    }

    fn left(a: &[f32], width: usize) -> Cow<'_, [u32]> {
        if width == 0 {
            return Cow::default();
        }
        let words = width.div_ceil(2);
        let mut out = vec![0; a.len() / width * words];
        let rows = (ELEMENTS_PER_TASK / width).max(1);
        team::run_parts(&mut out, rows * words, |index, to| {
            let from = a.chunks_exact(width).skip(index * rows);
            let rows = from.zip(to.chunks_exact_mut(words));
            rows.for_each(|(from, to)| to_pairs(from, to));
        });
        out.into()
    }

    fn exchange(from: &[Row<u32>], to: &mut [Row<u32>]) {
        // First the halves of two neighbours in a row, then the rows with the columns.
        for (i, from) in from.as_chunks::<2>().0.iter().enumerate() {
            let mut pairs = [Row::ZERO; 4];
            for (row, from) in from.iter().enumerate() {
                for (pair, [first, second]) in from.0.as_chunks::<2>().0.iter().enumerate() {
                    pairs[2 * row].0[pair] = (first & !HIGH) | (second << 16);
                    pairs[2 * row + 1].0[pair] = (first >> 16) | (second & HIGH);
                }
            }
            for (j, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                exchange_four(&pairs, 4 * j, to, 4 * i);
            }
        }
    }

    fn kernel() -> Kernel<u32> {
        bf16_kernel()
    }

    fn scratch() -> &'static Mutex<Vec<Row<u32>>> {
        static ROWS: Mutex<Vec<Row<u32>>> = Mutex::new(Vec::new());
        &ROWS
    }
}

/// Writes four words of four rows, from `column` on, as four rows, to `to_column` on.
#[inline(always)]
fn exchange_four<W: Word>(
    from: &[Row<W>; 4],
    column: usize,
    to: &mut [Row<W>; 4],
    to_column: usize,
) {
    assert!(column + 4 <= PANEL && to_column + 4 <= PANEL && size_of::<W>() == 4);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of every such processor; the places lie in the rows, see above.
    unsafe {
        use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
        let [mut a, mut b, mut c, mut d] = from
            .each_ref()
            .map(|row| _mm_loadu_ps(row.0.as_ptr().add(column).cast::<f32>()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (to, row) in to.iter_mut().zip([a, b, c, d]) {
            _mm_storeu_ps(to.0.as_mut_ptr().add(to_column).cast::<f32>(), row);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    for (j, to) in to.iter_mut().enumerate() {
        for (i, from) in from.iter().enumerate() {
            to.0[to_column + i] = from.0[column + j];
        }
    }
}

const HIGH: u32 = 0xFFFF_0000;

/// The nearest `bf16`, ties to even, in the high half of the bits. What is below the normal numbers
/// becomes zero, as the matrix instructions take it.
#[inline(always)]
fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7FFF_FFFF;
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) & HIGH;
    let sign = bits & 0x8000_0000;
    let nan = sign | 0x7FC0_0000;
    let finite = if magnitude < 0x0080_0000 {
        sign
    } else {
        rounded
    };
    if magnitude > 0x7F80_0000 { nan } else { finite }
}

simd_fn! {
    fn to_pairs(from: &[f32], to: &mut [u32]) = to_pairs_body
}

/// A row in pairs; a missing last element is zero.
#[inline(always)]
unsafe fn to_pairs_body<S: Simd>(from: &[f32], to: &mut [u32]) {
    let (pairs, rest) = from.as_chunks::<2>();
    for (to, [first, second]) in to.iter_mut().zip(pairs) {
        *to = (bf16_bits(*first) >> 16) | bf16_bits(*second);
    }
    if let ([last], Some(to)) = (rest, to.last_mut()) {
        *to = bf16_bits(*last) >> 16;
    }
}
