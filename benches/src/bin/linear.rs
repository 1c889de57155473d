//! Times products with a frozen weight, as `benches/peers/linear.py` asks for them, one a line on
//! standard input: `f32 576 1536 8 20` is 20 products of 8 rows of 576 with a weight of 1536 x 576.
//! The answer is the median in seconds. `peak` asks for what the processor can do at most.

#![allow(clippy::print_stdout)] // that is what it is for

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use grsap_kernels::{FrozenWeight, WeightFormat, linear};

type Error = Box<dyn std::error::Error>;

/// Small batches go through so many bytes of weights, more than the caches hold.
const COLD_BYTES: usize = 128_000_000;

/// Up to so many rows the weight comes from memory, not from the cache.
const COLD_ROWS: usize = 32;

fn random(rows: usize, width: usize) -> Tensor<2> {
    let uniform = Distribution::Uniform(-1.0, 1.0);
    Tensor::random([rows, width], uniform, &Device::flex())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

type Weights = HashMap<(String, usize, usize), Vec<FrozenWeight>>;

fn product(line: &str, weights: &mut Weights) -> Result<f64, Error> {
    let [format, width, out, rows, runs] = *line.split(' ').collect::<Vec<_>>() else {
        return Err("expected: FORMAT IN OUT ROWS RUNS".into());
    };
    let (width, out): (usize, usize) = (width.parse()?, out.parse()?);
    let (rows, runs): (usize, usize) = (rows.parse()?, runs.parse()?);
    let (format, bytes) = match format {
        "f32" => (WeightFormat::F32, 4),
        "bf16" => (WeightFormat::Bf16, 2),
        other => return Err(format!("no format {other}").into()),
    };
    let key = (format!("{format:?}"), width, out);
    if !weights.contains_key(&key) {
        // One shape at a time.
        weights.clear();
        let copies = (COLD_BYTES / (width * out * bytes)).clamp(1, 128);
        let made = (0..copies).map(|_| {
            let values = random(out, width).into_data().try_into_vec::<f32>();
            let values = values.map_err(|e| format!("{e:?}"))?;
            Ok(FrozenWeight::new(
                values,
                [out, width],
                format,
                &Device::flex(),
            )?)
        });
        weights.insert(key.clone(), made.collect::<Result<_, Error>>()?);
    }
    let weights = weights.get(&key).ok_or("no weights")?;
    let taken = if rows > COLD_ROWS { 1 } else { weights.len() };
    // Every copy has its turn.
    let runs = runs.max(taken);
    let x = random(rows, width);
    let mut seconds = Vec::new();
    for weight in weights.iter().take(taken).cycle().take(runs + 1) {
        let start = Instant::now();
        black_box(linear(x.clone(), weight)?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    // The first one is a warm-up.
    seconds.remove(0);
    median(seconds).ok_or_else(|| "no runs".into())
}

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
fn peak(threads: usize) -> [f64; 3] {
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

fn main() -> Result<(), Error> {
    let mut weights = Weights::new();
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "peak" => {
                let threads = std::env::var("RAYON_NUM_THREADS").map_or(Ok(1), |n| n.parse())?;
                println!("{:?}", peak(threads));
            }
            line => println!("{:e}", product(line, &mut weights)?),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
