//! The CPU kernels: what a decoder's forward and backward passes are made of.

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grsap_kernels::{AttentionShape, Segment, attention, linear};

fn random(rows: usize, width: usize) -> Tensor<2> {
    Tensor::random(
        [rows, width],
        Distribution::Uniform(-1.0, 1.0),
        &Device::flex(),
    )
}

/// The shapes of SmolLM2-135M's MLP, forward and backward. Elements are floating-point operations.
fn matrix_products(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear 576x1536");
    let weight = random(1536, 576);
    for rows in [1, 8, 32, 1024] {
        group.throughput(Throughput::Elements(2 * rows as u64 * 576 * 1536));
        let x = random(rows, 576);
        group.bench_function(format!("forward/{rows}"), |b| {
            b.iter(|| linear(x.clone(), weight.clone()));
        });
        let tracked = x.clone().autodiff().require_grad();
        group.bench_function(format!("forward and backward/{rows}"), |b| {
            b.iter(|| linear(tracked.clone(), weight.clone()).map(|y| y.sum().backward()));
        });
    }
    group.finish();
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
