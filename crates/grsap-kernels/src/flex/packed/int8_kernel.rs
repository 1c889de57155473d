//! The compiled versions of a block of bytes, one for each instruction set.

#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::super::simd::Portable;
#[cfg(target_arch = "x86_64")]
use super::super::simd::{Isa, isa};
#[cfg(target_arch = "x86_64")]
use super::int8_lanes::x86::{Vnni, Words};
use super::int8_tile::{BLOCK_ROWS, Int8Block, block};

/// One version, which this CPU can run.
#[derive(Clone, Copy)]
pub(super) struct Int8Kernel {
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) name: &'static str,
    run: unsafe fn(&Int8Block<'_>),
}

impl Int8Kernel {
    /// Computes a block. Its maker vouches for the rectangle of `c`, which nothing else touches
    /// meanwhile.
    pub(super) fn run(self, block: &Int8Block<'_>) {
        assert!(block.left.len() >= block.rows.1 * block.num_blocks);
        assert!(block.right.len() >= block.panels.1 * block.num_blocks * BLOCK_ROWS);
        // SAFETY: kernels are made below, for instructions that were found on this CPU; rows and
        // panels are there, see above; the rest is the maker's word.
        unsafe { (self.run)(block) }
    }
}

unsafe fn portable(job: &Int8Block<'_>) {
    // SAFETY: needs nothing of the CPU.
    unsafe { block::<Portable>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(job: &Int8Block<'_>) {
    // SAFETY: the caller has the instructions.
    unsafe { block::<Words>(job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
unsafe fn vnni(job: &Int8Block<'_>) {
    // SAFETY: the caller has the instructions.
    unsafe { block::<Vnni>(job) }
}

/// The versions that this CPU can run, the best one first.
pub(super) fn int8_kernels() -> Vec<Int8Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let best = isa();
        if best == Isa::Avx512 && is_x86_feature_detected!("avx512vnni") {
            kernels.push(Int8Kernel {
                name: "AVX-512 VNNI",
                run: vnni,
            });
        }
        if best != Isa::Portable {
            kernels.push(Int8Kernel {
                name: "AVX2",
                run: avx2,
            });
        }
    }
    kernels.push(Int8Kernel {
        name: "portable",
        run: portable,
    });
    kernels
}

pub(super) fn int8_kernel() -> Int8Kernel {
    static BEST: OnceLock<Int8Kernel> = OnceLock::new();
    *BEST.get_or_init(|| int8_kernels()[0])
}
