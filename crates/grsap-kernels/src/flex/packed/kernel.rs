//! The compiled versions of a block, one for each instruction set.

#![allow(unsafe_code)]

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx2, Avx512};
use super::super::simd::{Isa, Portable, isa};
#[cfg(target_arch = "x86_64")]
use super::lanes::Dot;
use super::lanes::{Single, Widened};
use super::tile::{Block, block};

/// One version of the matrix code, which this CPU can run.
pub(in crate::flex) struct Kernel<W> {
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) name: &'static str,
    run: unsafe fn(&Block<'_, W>),
}

impl<W> Clone for Kernel<W> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<W> Copy for Kernel<W> {}

impl<W> Kernel<W> {
    /// Computes a block.
    ///
    /// # Safety
    ///
    /// The rows lie in `a`, the panels in `b`, and their rectangle in `c`, which nothing else
    /// touches meanwhile.
    pub(in crate::flex) unsafe fn run(&self, block: &Block<'_, W>) {
        // SAFETY: kernels are made below, for instructions that were found on this CPU; the rest
        // is the caller's word.
        unsafe { (self.run)(block) }
    }
}

/// `fn $name` is [`block`] over `$lanes`, compiled for `$features`.
macro_rules! compiled {
    ($name:ident, $features:literal, $lanes:ty, $word:ty) => {
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(job: &Block<'_, $word>) {
            // SAFETY: the caller has the instructions.
            unsafe { block::<$lanes>(job) }
        }
    };
}

/// Rows of a tile in portable Rust: sixteen vector registers are common, 64-bit Arm has 32.
const PORTABLE_ROWS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 2 };

unsafe fn f32_portable(job: &Block<'_, f32>) {
    // SAFETY: needs nothing of the CPU.
    unsafe { block::<Single<Portable, PORTABLE_ROWS>>(job) }
}
unsafe fn bf16_portable(job: &Block<'_, u32>) {
    // SAFETY: needs nothing of the CPU.
    unsafe { block::<Widened<Portable, PORTABLE_ROWS>>(job) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    compiled!(f32_avx2, "avx2,fma", Single<Avx2, 6>, f32);
    compiled!(f32_avx512, "avx512f,avx2,fma", Single<Avx512, 14>, f32);
    compiled!(bf16_avx2, "avx2,fma", Widened<Avx2, 4>, u32);
    compiled!(bf16_avx512, "avx512f,avx2,fma", Widened<Avx512, 8>, u32);
    compiled!(bf16_dot, "avx512f,avx512bf16,avx2,fma", Dot, u32);
}

/// The versions that this CPU can run, the best one first.
pub(super) fn f32_kernels() -> Vec<Kernel<f32>> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let best = isa();
        if best == Isa::Avx512 {
            let run = x86::f32_avx512;
            kernels.push(Kernel {
                name: "AVX-512",
                run,
            });
        }
        if best != Isa::Portable {
            let run = x86::f32_avx2;
            kernels.push(Kernel { name: "AVX2", run });
        }
    }
    let run = f32_portable;
    kernels.push(Kernel {
        name: "portable",
        run,
    });
    kernels
}

/// The versions that this CPU can run, the best one first.
pub(super) fn bf16_kernels() -> Vec<Kernel<u32>> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let best = isa();
        if best == Isa::Avx512 {
            if is_x86_feature_detected!("avx512bf16") {
                let run = x86::bf16_dot;
                kernels.push(Kernel {
                    name: "AVX-512 BF16",
                    run,
                });
            }
            let run = x86::bf16_avx512;
            kernels.push(Kernel {
                name: "AVX-512",
                run,
            });
        }
        if best != Isa::Portable {
            let run = x86::bf16_avx2;
            kernels.push(Kernel { name: "AVX2", run });
        }
    }
    let run = bf16_portable;
    kernels.push(Kernel {
        name: "portable",
        run,
    });
    kernels
}

pub(in crate::flex) fn f32_kernel() -> Kernel<f32> {
    static BEST: OnceLock<Kernel<f32>> = OnceLock::new();
    *BEST.get_or_init(|| f32_kernels()[0])
}

pub(super) fn bf16_kernel() -> Kernel<u32> {
    static BEST: OnceLock<Kernel<u32>> = OnceLock::new();
    *BEST.get_or_init(|| bf16_kernels()[0])
}
