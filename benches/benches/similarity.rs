//! MAUVE and nearest neighbours on features of given sizes.

#![allow(clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use grsap_replay::safety::{Features, Mauve, MauveConfig, Neighbours};

const DIM: usize = 384;

/// Groups of vectors with noise about them.
fn rows(num: usize, groups: usize) -> Vec<f32> {
    let wave = |a: usize, b: usize| ((a * 131 + b * 17) as f32 * 0.618).sin();
    let row = |i: usize| (0..DIM).map(move |j| wave(i % groups, j) + 0.7 * wave(i + 1000, j * j));
    (0..num).flat_map(row).collect()
}

fn similarity(c: &mut Criterion) {
    let mut group = c.benchmark_group("similarity");
    group.sample_size(10);
    for num in [200, 2000] {
        let (p, q) = (rows(num, 60), rows(num, 70));
        let p = Features::new(&p, DIM).unwrap();
        let q = Features::new(&q, DIM).unwrap();
        let config = MauveConfig::default();
        group.bench_function(format!("mauve/{num}x{DIM}"), |b| {
            b.iter(|| Mauve::new(p, q, &config).unwrap());
        });
        group.bench_function(format!("neighbours/{num}x{DIM}"), |b| {
            b.iter(|| Neighbours::new(p, q, 5).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, similarity);
criterion_main!(benches);
