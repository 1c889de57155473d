//! What the processor can do at most, measured by itself.

use std::hint::black_box;
use std::time::Instant;

/// The best of some runs of `work` on every thread, in seconds.
fn best(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let run = |_| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let work = &work;
                scope.spawn(move || work(thread));
            }
        });
        start.elapsed().as_secs_f64()
    };
    (0..20).map(run).fold(f64::INFINITY, f64::min)
}

const CHAINS: usize = 24;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fused_multiplications(n: usize) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (x, y) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3));
    let mut sums = [x; CHAINS];
    for _ in 0..n {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_dot_products(n: usize) {
    use std::arch::x86_64::{_mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_set1_ps};
    let x = _mm512_set1_ps(0.5);
    let pair = _mm512_cvtne2ps_pbh(x, x);
    let mut sums = [x; CHAINS];
    for _ in 0..n {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, pair, pair);
        }
    }
    black_box(sums);
}

/// GFLOP/s in f32 and in bf16, GB/s of reading; zero for what the processor does not have.
#[allow(unsafe_code)]
pub fn peak(threads: usize) -> [f64; 3] {
    let n = 2_000_000;
    let (mut f32, mut bf16) = (0.0, 0.0);
    #[cfg(target_arch = "x86_64")]
    {
        let flops = |per_vector: usize| (threads * n * CHAINS * per_vector) as f64 / 1e9;
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instructions were found.
            f32 = flops(32) / best(threads, |_| unsafe { fused_multiplications(n) });
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
            // SAFETY: as above.
            bf16 = flops(64) / best(threads, |_| unsafe { bf16_dot_products(n) });
        }
    }
    let data: Vec<u64> = (0..1 << 26).collect();
    let part = data.len() / threads;
    let seconds = best(threads, |thread| {
        let mut sums = [0u64; 32];
        for words in data
            .iter()
            .as_slice()
            .chunks(part)
            .nth(thread)
            .unwrap_or_default()
            .chunks_exact(32)
        {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= word;
            }
        }
        black_box(sums);
    });
    [
        f32,
        bf16,
        size_of_val(data.as_slice()) as f64 / seconds / 1e9,
    ]
}
