//! The few vector operations that the CPU kernels need, on AVX-512, AVX2 and portable Rust, which the
//! compiler turns into NEON where that is part of every processor (64-bit Arm).
//!
//! A kernel is written once over [`Simd`] and compiled once for each instruction set by
//! [`simd_fn`]; the set is found at run time.

#![allow(unsafe_code)]

use std::sync::OnceLock;

/// A vector of `f32`.
///
/// # Safety
///
/// Implementations may use instructions that the running CPU must have: only code reached through
/// [`simd_fn`] may call them. Loads and stores take pointers to `LANES` floats, of any alignment.
pub(super) trait Simd: Copy {
    const LANES: usize;
    type V: Copy;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// a * b + c
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sum(v: Self::V) -> f32;
    /// `LANES` pairs of bf16 as `[low halves, high halves]`.
    unsafe fn load_pairs(from: *const u32) -> [Self::V; 2];
}

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    const LANES: usize = 8;
    type V = [f32; 8];

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller gives 8 readable floats.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller gives 8 writable floats.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    unsafe fn load_pairs(from: *const u32) -> [Self::V; 2] {
        // SAFETY: the caller gives 8 readable words.
        let words = unsafe { from.cast::<[u32; 8]>().read_unaligned() };
        [
            words.map(|word| f32::from_bits(word << 16)),
            words.map(|word| f32::from_bits(word & 0xFFFF_0000)),
        ]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    impl Simd for Avx2 {
        const LANES: usize = 8;
        type V = __m256;

        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: only reached with AVX2 and FMA, see `Simd`; so too below.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            // SAFETY: as above; the caller gives 8 readable floats.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            // SAFETY: as above; the caller gives 8 writable floats.
            unsafe { _mm256_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sum(v: Self::V) -> f32 {
            // SAFETY: as above.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)))
            }
        }
        #[inline(always)]
        unsafe fn load_pairs(from: *const u32) -> [Self::V; 2] {
            // SAFETY: as above; the caller gives 8 readable words.
            unsafe {
                let words = _mm256_loadu_si256(from.cast());
                let high = _mm256_set1_epi32(0xFFFF_0000_u32.cast_signed());
                [
                    _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)),
                    _mm256_castsi256_ps(_mm256_and_si256(words, high)),
                ]
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Simd for Avx512 {
        const LANES: usize = 16;
        type V = __m512;

        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: only reached with AVX-512F, see `Simd`; so too below.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            // SAFETY: as above; the caller gives 16 readable floats.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            // SAFETY: as above; the caller gives 16 writable floats.
            unsafe { _mm512_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: as above.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sum(v: Self::V) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_add_ps(v) }
        }
        #[inline(always)]
        unsafe fn load_pairs(from: *const u32) -> [Self::V; 2] {
            // SAFETY: as above; the caller gives 16 readable words.
            unsafe {
                let words = _mm512_loadu_si512(from.cast());
                let high = _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed());
                [
                    _mm512_castsi512_ps(_mm512_slli_epi32(words, 16)),
                    _mm512_castsi512_ps(_mm512_and_si512(words, high)),
                ]
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// The instruction sets that the kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best instruction set of this CPU.
pub(super) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    })
}

/// Compiles `fn name<S: Simd>(args)` for every instruction set and makes a function `name(args)`
/// that calls the best one.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller checked the CPU.
                unsafe { $body::<$crate::flex::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller checked the CPU.
                unsafe { $body::<$crate::flex::simd::Avx2>($($arg),*) }
            }
            match $crate::flex::simd::isa() {
                // SAFETY: `isa` found these instructions on this CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::flex::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::flex::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: portable Rust needs nothing of the CPU.
                $crate::flex::simd::Isa::Portable => unsafe {
                    $body::<$crate::flex::simd::Portable>($($arg),*)
                },
            }
        }
    };
}
pub(super) use simd_fn;

/// The dot product of `n` floats at `a` and `b`. The order of the additions depends on `n` alone.
///
/// # Safety
///
/// `a` and `b` are readable for `n` floats; see [`Simd`] for the CPU.
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: every index is below n.
    unsafe {
        let step = S::LANES;
        let (mut s0, mut s1) = (S::zero(), S::zero());
        let mut i = 0;
        while i + 2 * step <= n {
            s0 = S::fma(S::load(a.add(i)), S::load(b.add(i)), s0);
            s1 = S::fma(S::load(a.add(i + step)), S::load(b.add(i + step)), s1);
            i += 2 * step;
        }
        if i + step <= n {
            s0 = S::fma(S::load(a.add(i)), S::load(b.add(i)), s0);
            i += step;
        }
        let mut sum = S::sum(S::add(s0, s1));
        while i < n {
            sum += *a.add(i) * *b.add(i);
            i += 1;
        }
        sum
    }
}

/// `y += x * factor` over `n` floats.
///
/// # Safety
///
/// `x` is readable and `y` writable for `n` floats and they do not overlap; see [`Simd`].
#[inline(always)]
pub(super) unsafe fn axpy<S: Simd>(factor: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: every index is below n.
    unsafe {
        let f = S::splat(factor);
        let mut i = 0;
        while i + S::LANES <= n {
            S::store(y.add(i), S::fma(f, S::load(x.add(i)), S::load(y.add(i))));
            i += S::LANES;
        }
        while i < n {
            *y.add(i) += factor * *x.add(i);
            i += 1;
        }
    }
}

/// e^x to within two units in the last place for x in [-87, 88]; 0 below. Plain arithmetic, so
/// that loops over it become vector code.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Cody and Waite's reduction: x = n ln 2 + r, |r| <= ln 2 / 2.
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { y * scale }
}

/// tanh(x) to within a few units in the last place. Plain arithmetic, as [`exp`].
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    // Near zero Lambert's continued fraction, where the other form would cancel.
    let s = a * a;
    let small =
        a * (10_395.0 + s * (1_260.0 + s * 21.0)) / (10_395.0 + s * (4_725.0 + s * (210.0 + s)));
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    (if a < 0.6 { small } else { large }).copysign(x)
}

/// A pointer that tasks on several threads may write through, each to places of its own.
#[derive(Clone, Copy)]
pub(super) struct SharedMut(pub(super) *mut f32);
// SAFETY: the users of this type write to disjoint places; each says why.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// The pointer, `offset` floats on.
    ///
    /// # Safety
    ///
    /// The place lies within the allocation, and no other thread touches it.
    #[inline(always)]
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: by the caller's word.
        unsafe { self.0.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::{exp, tanh};

    #[test]
    fn exp_is_close_everywhere() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            assert!(
                (got / want - 1.0).abs() < 4e-7,
                "exp({x}) = {got}, not {want}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn tanh_is_close_everywhere() {
        for i in -2_000..=2_000 {
            let x = i as f32 / 200.0;
            let want = f64::from(x).tanh();
            let error = f64::from(tanh(x)) - want;
            assert!(
                error.abs() <= 4e-7 * want.abs(),
                "tanh({x}) is off by {error:e}"
            );
        }
        for (x, want) in [
            (1e-30, 1e-30),
            (0.0, 0.0),
            (f32::INFINITY, 1.0),
            (-100.0, -1.0),
        ] {
            assert_eq!(tanh(x), want);
        }
    }
}
