//! Times products with a frozen weight, as `benches/peers/linear.py` asks for them, one a line on
//! standard input: `f32 576 1536 8 20` is 20 products of 8 rows of 576 with a weight of 1536 x 576.
//! The answer is the median in seconds. `peak` asks for what the processor can do at most.

#![allow(clippy::print_stdout)] // that is what it is for

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use grsap_benches::peak;
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
