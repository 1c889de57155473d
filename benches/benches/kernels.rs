//! The CPU kernels: what a decoder's forward and backward passes are made of.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grsap_kernels::{AttentionShape, FrozenWeight, Segment, WeightFormat, attention, linear};

fn random(rows: usize, width: usize) -> Tensor<2> {
    Tensor::random(
        [rows, width],
        Distribution::Uniform(-1.0, 1.0),
        &Device::flex(),
    )
}

/// The linear layers of SmolLM2-135M, forward and backward. Elements are floating-point operations.
///
/// A weight that was used a moment ago comes from the cache: decoding reads every weight of a model
/// once for each token, so small batches go through several copies.
fn matrix_products(c: &mut Criterion) {
    let shapes = [
        (576, 576),
        (576, 192),
        (576, 1536),
        (1536, 576),
        (576, 49_152),
    ];
    for (format, name) in [(WeightFormat::F32, "f32"), (WeightFormat::Bf16, "bf16")] {
        for (width, out) in shapes {
            let mut group = c.benchmark_group(format!("linear {name} {width}x{out}"));
            let weights: Vec<FrozenWeight> = (0..(32_000_000 / (width * out)).clamp(1, 64))
                .map(|_| frozen(random(out, width), format))
                .collect();
            for rows in [1, 8, 32, 64, 512, 1024] {
                if rows > 64 && out > 10_000 {
                    continue;
                }
                group.throughput(Throughput::Elements((2 * rows * width * out) as u64));
                let x = random(rows, width);
                let mut turn = 0;
                group.bench_function(format!("forward/{rows}"), |b| {
                    b.iter(|| {
                        turn += 1;
                        linear(
                            x.clone(),
                            &weights[if rows > 32 { 0 } else { turn % weights.len() }],
                        )
                    });
                });
                if rows < 512 {
                    continue;
                }
                let tracked = x.clone().autodiff().require_grad();
                group.bench_function(format!("forward and backward/{rows}"), |b| {
                    b.iter(|| linear(tracked.clone(), &weights[0]).map(|y| y.sum().backward()));
                });
            }
            group.finish();
        }
    }
}

fn frozen(weight: Tensor<2>, format: WeightFormat) -> FrozenWeight {
    let shape = weight.dims();
    let values = weight.into_data().try_into_vec().unwrap();
    FrozenWeight::new(values, shape, format, &Device::flex()).unwrap()
}

fn ragged_attention(c: &mut Criterion) {
    let shape = AttentionShape::causal(9, 3, 64);
    let (q, k, v) = (random(1024, 576), random(1024, 192), random(1024, 192));
    let segments = Segment::packed([128; 8]);
    c.bench_function("attention/8x128", |b| {
        b.iter(|| attention(q.clone(), k.clone(), v.clone(), shape, &segments));
    });
    let last: Vec<_> = (0..8)
        .map(|i| {
            let keys = i * 128..(i + 1) * 128;
            Segment {
                queries: i..i + 1,
                keys: Vec::from([keys]),
            }
        })
        .collect();
    let q = random(8, 576);
    c.bench_function("attention/decode 8 of 128", |b| {
        b.iter(|| attention(q.clone(), k.clone(), v.clone(), shape, &last));
    });
}

criterion_group!(benches, matrix_products, ragged_attention);
criterion_main!(benches);
