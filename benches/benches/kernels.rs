//! The kernels: what a decoder's forward and backward passes are made of. Groups `linear` and `attention` are
//! of the CPU; `training` is of the CPU too, or of the GPU that the feature `cuda` or `wgpu` names.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use burn::tensor::{DType, Device, Distribution, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grsap_kernels::{
    AdamWState, AdamWStep, AttentionShape, Dropout, FrozenWeight, LoraWeights, Segment,
    WeightFormat, adamw, attention, linear, linear_cross_entropy, lora_linear, rms_norm, rotary,
    sums_of_squares, swiglu,
};

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
                        .unwrap()
                    });
                });
                if rows < 512 {
                    continue;
                }
                let tracked = x.clone().autodiff().require_grad();
                group.bench_function(format!("forward and backward/{rows}"), |b| {
                    b.iter(|| {
                        linear(tracked.clone(), &weights[0])
                            .unwrap()
                            .sum()
                            .backward()
                    });
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
        b.iter(|| attention(q.clone(), k.clone(), v.clone(), shape, &segments).unwrap());
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
        b.iter(|| attention(q.clone(), k.clone(), v.clone(), shape, &last).unwrap());
    });
}

fn device() -> Device {
    #[cfg(feature = "cuda")]
    {
        Device::cuda(0)
    }
    #[cfg(all(feature = "wgpu", not(feature = "cuda")))]
    {
        Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
    }
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    {
        Device::flex()
    }
}

/// Every operation of a LoRA step, forwards and backwards, on 8 sequences of 128 tokens in the shapes of
/// SmolLM2-135M. On a GPU that has it in `bf16`. Elements are tokens.
fn training(c: &mut Criterion) {
    let device = device();
    let on_cpu = device == Device::flex();
    let dtype = match !on_cpu && device.supports_dtype(DType::BF16) {
        true => DType::BF16,
        false => DType::F32,
    };
    let there = |rows: usize, width: usize, dtype: DType| {
        let values = random(rows, width).into_data();
        Tensor::<2>::from_data(values, (&device, DType::F32)).cast(dtype)
    };
    let x = |width: usize| there(1024, width, dtype);
    let weight = |out: usize, width: usize, format: WeightFormat| {
        let values = random(out, width).into_data().try_into_vec().unwrap();
        FrozenWeight::new(values, [out, width], format, &device).unwrap()
    };
    let plain = match dtype {
        DType::BF16 => WeightFormat::Bf16,
        _ => WeightFormat::F32,
    };
    let mut group = c.benchmark_group("training");
    group.throughput(Throughput::Elements(1024));
    let mut run = |name: &str, inputs: &[Tensor<2>], f: &dyn Fn(&[Tensor<2>]) -> Tensor<2>| {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|t| t.clone().autodiff().require_grad())
            .collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                let grads = f(&inputs).sum().backward();
                // Reading a number waits for the device.
                let sums = inputs
                    .iter()
                    .filter_map(|t| t.grad(&grads))
                    .map(Tensor::sum);
                sums.map(|sum| sum.cast(DType::F32).into_scalar::<f32>())
                    .sum::<f32>()
            });
        });
    };
    let norm = Tensor::<1>::ones([576], &device);
    run("rms_norm", &[x(576)], &|t| {
        rms_norm(t[0].clone(), norm.clone(), 1e-5).unwrap()
    });
    let angles = there(1024, 32, DType::F32);
    run("rotary", &[x(576)], &|t| {
        rotary(t[0].clone(), angles.clone(), angles.clone()).unwrap()
    });
    run("swiglu", &[x(1536), x(1536)], &|t| {
        swiglu(t[0].clone(), t[1].clone()).unwrap()
    });
    let shape = AttentionShape::causal(9, 3, 64);
    for (name, segments) in [
        ("attention 8x128", Segment::packed([128; 8])),
        ("attention 1x1024", Segment::packed([1024])),
    ] {
        run(name, &[x(576), x(192), x(192)], &|t| {
            attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments).unwrap()
        });
    }
    for (name, format) in [
        ("lora_linear", plain),
        ("lora_linear int8", WeightFormat::Int8),
        ("lora_linear nf4", WeightFormat::Nf4),
    ] {
        let weight = weight(1536, 576, format);
        let x = x(576).cast(weight.input_dtype());
        let (a, b) = (there(16, 576, DType::F32), there(1536, 16, DType::F32));
        for (dropout, p) in [("", 0.0), (", dropout", 0.1)] {
            run(
                &format!("{name}{dropout}"),
                &[x.clone(), a.clone(), b.clone()],
                &|t| {
                    let lora = LoraWeights {
                        a: t[1].clone(),
                        b: t[2].clone(),
                        scale: 2.0,
                    };
                    lora_linear(t[0].clone(), &weight, lora, Some(Dropout { p, seed: 1 })).unwrap()
                },
            );
        }
    }
    let head = weight(49_152, 576, plain);
    let targets: Vec<u32> = (0..1024).map(|i| i * 7919 % 49_152).collect();
    run("linear_cross_entropy", &[x(576)], &|t| {
        let nll = linear_cross_entropy(t[0].clone(), &head, &targets, None).unwrap();
        nll.reshape([1024, 1])
    });
    let step = AdamWStep {
        betas: (0.9, 0.999),
        eps: 1e-8,
        lr: 1e-3,
        gradient_scale: 1.0,
        step: 3,
    };
    // As many as an adapter on all layers of SmolLM2 has.
    let gradients = vec![there(16, 576, DType::F32); 420];
    let states = gradients.iter().map(|gradient| AdamWState {
        parameter: gradient.clone(),
        exp_avg: gradient.clone(),
        exp_avg_sq: gradient.clone().powi_scalar(2),
        weight_decay: 0.01,
    });
    let states: Vec<_> = states.collect();
    group.bench_function("adamw 420x 16x576", |b| {
        b.iter(|| {
            let next = adamw(states.clone(), gradients.clone(), &step).unwrap();
            let last = next.into_iter().last().unwrap();
            last.parameter.sum().into_scalar::<f32>()
        });
    });
    group.bench_function("sums_of_squares 420x 16x576", |b| {
        b.iter(|| {
            let sums = sums_of_squares(&gradients).unwrap();
            sums.sum().into_scalar::<f32>()
        });
    });
    group.finish();
}

criterion_group!(benches, matrix_products, ragged_attention, training);
criterion_main!(benches);
