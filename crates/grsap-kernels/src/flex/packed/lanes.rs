//! How one instruction set multiplies one kind of weight: what a tile is written over.

#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::super::simd::Simd;

/// Asks for the cache line at an address, which may lie anywhere.
#[inline(always)]
pub(super) fn prefetch<T>(from: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; SSE is part of every such processor.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(from.cast::<i8>(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// Vectors of sums, and of the 32-bit words that are multiplied into them. A word is an `f32`, or
/// two `bf16` that follow one another along the inner dimension, the first one in the low half.
///
/// # Safety
///
/// As for [`Simd`]: only code that was compiled for the instruction set, on a CPU that has it, may
/// call these. Pointers lead to `LANES` words, of any alignment; [`splat`](Self::splat) reads one.
pub(super) trait Lanes: Copy {
    /// Rows of the largest tile that fits the registers.
    const MAX_ROWS: usize;
    const LANES: usize;
    type Word: Copy;
    type Sum: Copy;
    type Left: Copy;
    type Right: Copy;

    unsafe fn zero() -> Self::Sum;
    unsafe fn splat(from: *const Self::Word) -> Self::Left;
    unsafe fn load(from: *const Self::Word) -> Self::Right;
    /// Adds the products. Of a pair the second comes first, as in AVX-512's `vdpbf16ps`.
    unsafe fn multiply_add(a: Self::Left, b: Self::Right, sum: Self::Sum) -> Self::Sum;
    unsafe fn add_to(sum: Self::Sum, to: *mut f32);
    unsafe fn store(sum: Self::Sum, to: *mut f32);
}

/// `f32` times `f32`.
#[derive(Clone, Copy)]
pub(super) struct Single<S, const MAX_ROWS: usize>(PhantomData<S>);

impl<S: Simd, const MAX_ROWS: usize> Lanes for Single<S, MAX_ROWS> {
    const MAX_ROWS: usize = MAX_ROWS;
    const LANES: usize = S::LANES;
    type Word = f32;
    type Sum = S::V;
    type Left = S::V;
    type Right = S::V;

    #[inline(always)]
    unsafe fn zero() -> S::V {
        // SAFETY: the caller has the instructions; so too below.
        unsafe { S::zero() }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> S::V {
        // SAFETY: as above; `from` is readable.
        unsafe { S::splat(*from) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> S::V {
        // SAFETY: as above.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn multiply_add(a: S::V, b: S::V, sum: S::V) -> S::V {
        // SAFETY: as above.
        unsafe { S::fma(a, b, sum) }
    }
    #[inline(always)]
    unsafe fn add_to(sum: S::V, to: *mut f32) {
        // SAFETY: as above; `to` is readable and writable.
        unsafe { S::store(to, S::add(S::load(to), sum)) }
    }
    #[inline(always)]
    unsafe fn store(sum: S::V, to: *mut f32) {
        // SAFETY: as above.
        unsafe { S::store(to, sum) }
    }
}

/// `bf16` times `bf16`, widened to `f32` in registers. The products are exact, so that a fused and
/// a separate addition give the same sum.
#[derive(Clone, Copy)]
pub(super) struct Widened<S, const MAX_ROWS: usize>(PhantomData<S>);

impl<S: Simd, const MAX_ROWS: usize> Lanes for Widened<S, MAX_ROWS> {
    const MAX_ROWS: usize = MAX_ROWS;
    const LANES: usize = S::LANES;
    type Word = u32;
    type Sum = S::V;
    type Left = [S::V; 2];
    type Right = [S::V; 2];

    #[inline(always)]
    unsafe fn zero() -> S::V {
        // SAFETY: the caller has the instructions; so too below.
        unsafe { S::zero() }
    }
    #[inline(always)]
    unsafe fn splat(from: *const u32) -> [S::V; 2] {
        // SAFETY: as above; `from` is readable.
        unsafe {
            let word = *from;
            [
                S::splat(f32::from_bits(word << 16)),
                S::splat(f32::from_bits(word & 0xFFFF_0000)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> [S::V; 2] {
        // SAFETY: as above.
        unsafe { S::load_pairs(from) }
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [S::V; 2], b: [S::V; 2], sum: S::V) -> S::V {
        // SAFETY: as above.
        unsafe { S::fma(a[0], b[0], S::fma(a[1], b[1], sum)) }
    }
    #[inline(always)]
    unsafe fn add_to(sum: S::V, to: *mut f32) {
        // SAFETY: as above; `to` is readable and writable.
        unsafe { S::store(to, S::add(S::load(to), sum)) }
    }
    #[inline(always)]
    unsafe fn store(sum: S::V, to: *mut f32) {
        // SAFETY: as above.
        unsafe { S::store(to, sum) }
    }
}

/// `bf16` times `bf16` by AVX-512's dot product of pairs.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Dot;

#[cfg(target_arch = "x86_64")]
impl Lanes for Dot {
    const MAX_ROWS: usize = 14;
    const LANES: usize = 16;
    type Word = u32;
    type Sum = std::arch::x86_64::__m512;
    type Left = std::arch::x86_64::__m512bh;
    type Right = std::arch::x86_64::__m512bh;

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        // SAFETY: the caller has the instructions; so too below.
        unsafe { std::arch::x86_64::_mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(from: *const u32) -> Self::Left {
        // SAFETY: as above; `from` is readable, and both types are 64 plain bytes.
        unsafe {
            let words = std::arch::x86_64::_mm512_set1_epi32((*from).cast_signed());
            std::mem::transmute::<std::arch::x86_64::__m512i, Self::Left>(words)
        }
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Right {
        // SAFETY: as above, for 16 words.
        unsafe {
            let words = std::arch::x86_64::_mm512_loadu_si512(from.cast());
            std::mem::transmute::<std::arch::x86_64::__m512i, Self::Right>(words)
        }
    }
    #[inline(always)]
    unsafe fn multiply_add(a: Self::Left, b: Self::Right, sum: Self::Sum) -> Self::Sum {
        // SAFETY: as above.
        unsafe { std::arch::x86_64::_mm512_dpbf16_ps(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn add_to(sum: Self::Sum, to: *mut f32) {
        use std::arch::x86_64::{_mm512_add_ps, _mm512_loadu_ps, _mm512_storeu_ps};
        // SAFETY: as above; `to` is readable and writable.
        unsafe { _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sum)) }
    }
    #[inline(always)]
    unsafe fn store(sum: Self::Sum, to: *mut f32) {
        // SAFETY: as above.
        unsafe { std::arch::x86_64::_mm512_storeu_ps(to, sum) }
    }
}
