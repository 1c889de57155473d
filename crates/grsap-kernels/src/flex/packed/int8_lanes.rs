//! How one instruction set multiplies bytes.

#![allow(unsafe_code)]

use super::super::simd::{Portable, Simd};

/// Vectors of 32-bit words with four bytes each, and of their exact sums.
///
/// # Safety
///
/// As for [`Simd`].
pub(super) trait ByteLanes: Copy {
    /// Rows of the largest tile that fits the registers.
    const MAX_ROWS: usize;
    /// As many `f32`.
    type F: Simd;
    type I: Copy;

    unsafe fn splat(x: i32) -> Self::I;
    unsafe fn load(from: *const u32) -> Self::I;
    /// Adds, in every lane, the products of four bytes: of `right` without a sign, of `left` with one.
    unsafe fn dot(sum: Self::I, right: Self::I, left: Self::I) -> Self::I;
    unsafe fn to_f32(x: Self::I) -> <Self::F as Simd>::V;
}

impl ByteLanes for Portable {
    const MAX_ROWS: usize = 2;
    type F = Portable;
    type I = [i32; 8];

    #[inline(always)]
    unsafe fn splat(x: i32) -> Self::I {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::I {
        // SAFETY: the caller gives 8 readable words.
        unsafe { from.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::I, right: Self::I, left: Self::I) -> Self::I {
        std::array::from_fn(|lane| {
            let (right, left) = (right[lane].to_le_bytes(), left[lane].to_le_bytes());
            let products = right.into_iter().zip(left);
            let products = products.map(|(r, l)| i32::from(r) * i32::from(l.cast_signed()));
            sum[lane] + products.sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn to_f32(x: Self::I) -> [f32; 8] {
        x.map(|x| x as f32)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::super::super::simd::{Avx2, Avx512};
    use super::ByteLanes;

    /// By way of 16-bit products.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Words;

    impl ByteLanes for Words {
        const MAX_ROWS: usize = 2;
        type F = Avx2;
        type I = __m256i;

        #[inline(always)]
        unsafe fn splat(x: i32) -> Self::I {
            // SAFETY: only reached with AVX2; so too below.
            unsafe { _mm256_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const u32) -> Self::I {
            // SAFETY: as above; the caller gives 8 readable words.
            unsafe { _mm256_loadu_si256(from.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(sum: Self::I, right: Self::I, left: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe {
                let even = _mm256_and_si256(right, _mm256_set1_epi16(0xFF));
                let odd = _mm256_srli_epi16(right, 8);
                let left_even = _mm256_srai_epi16(_mm256_slli_epi16(left, 8), 8);
                let left_odd = _mm256_srai_epi16(left, 8);
                let even = _mm256_madd_epi16(even, left_even);
                let odd = _mm256_madd_epi16(odd, left_odd);
                _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
            }
        }
        #[inline(always)]
        unsafe fn to_f32(x: Self::I) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_cvtepi32_ps(x) }
        }
    }

    /// AVX-512's dot products of bytes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Vnni;

    impl ByteLanes for Vnni {
        const MAX_ROWS: usize = 6;
        type F = Avx512;
        type I = __m512i;

        #[inline(always)]
        unsafe fn splat(x: i32) -> Self::I {
            // SAFETY: only reached with AVX-512 and its VNNI; so too below.
            unsafe { _mm512_set1_epi32(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const u32) -> Self::I {
            // SAFETY: as above; the caller gives 16 readable words.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(sum: Self::I, right: Self::I, left: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { _mm512_dpbusd_epi32(sum, right, left) }
        }
        #[inline(always)]
        unsafe fn to_f32(x: Self::I) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_cvtepi32_ps(x) }
        }
    }
}
