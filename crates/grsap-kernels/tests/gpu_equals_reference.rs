//! Every GPU kernel against its reference on the CPU, forward and backward, on odd shapes, in every
//! type that the device computes in. With the feature `cuda` on the first CUDA device, with `wgpu`
//! on what `CUBECL_WGPU_DEFAULT_DEVICE` names (`Cpu` for a software renderer).

#![cfg(feature = "cube")]
// A failure here is the message.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use grsap_kernels::{
    AdamWState, AdamWStep, AttentionShape, Dropout, FrozenWeight, LoraWeights, Segment,
    WeightFormat, adamw, attention, linear, linear_cross_entropy, lora_linear, reference, rms_norm,
    rotary, sums_of_squares, swiglu, write_rows,
};

fn gpu() -> Device {
    #[cfg(feature = "cuda")]
    {
        Device::cuda(0)
    }
    #[cfg(not(feature = "cuda"))]
    {
        Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
    }
}

/// The types that the device has, with the errors that their roundings explain: of results, of
/// gradients.
fn dtypes() -> Vec<(DType, f32)> {
    let types = [(DType::F32, 1e-5), (DType::F16, 4e-3), (DType::BF16, 3e-2)];
    let device = gpu();
    let types = types.into_iter();
    let types: Vec<_> = types.filter(|t| device.supports_dtype(t.0)).collect();
    assert!(types.iter().any(|t| t.0 == DType::F32));
    types
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.random::<f32>() * 2.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

/// A copy on the GPU.
fn there<const D: usize>(tensor: &Tensor<D>, dtype: DType) -> Tensor<D> {
    let data = TensorData::new(values(tensor.clone()), tensor.dims());
    Tensor::<D>::from_data(data, (&gpu(), DType::F32)).cast(dtype)
}

/// What becomes of it there, so that rounding the input is no difference.
fn rounded<const D: usize>(tensor: &Tensor<D>, dtype: DType) -> Tensor<D> {
    tensor.clone().cast(dtype).cast(DType::F32)
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= tolerance * scale,
            "{what}: element {i} is {g}, the reference has {w} (largest {scale})"
        );
    }
}

/// Runs `fused` on the GPU and `plain` on the CPU and compares results and gradients.
fn compare(
    what: &str,
    inputs: &[Tensor<2>],
    fused: impl Fn(&[Tensor<2>], DType) -> Tensor<2>,
    plain: impl Fn(&[Tensor<2>], DType) -> Tensor<2>,
) {
    compare_in(dtypes(), what, inputs, fused, plain);
}

fn compare_in(
    dtypes: Vec<(DType, f32)>,
    what: &str,
    inputs: &[Tensor<2>],
    fused: impl Fn(&[Tensor<2>], DType) -> Tensor<2>,
    plain: impl Fn(&[Tensor<2>], DType) -> Tensor<2>,
) {
    for (dtype, tolerance) in dtypes {
        let what = format!("{what} in {dtype:?}");
        let run = |inputs: Vec<Tensor<2>>, f: &dyn Fn(&[Tensor<2>]) -> Tensor<2>| {
            let tracked: Vec<_> = inputs
                .into_iter()
                .map(|t| t.autodiff().require_grad())
                .collect();
            let y = f(&tracked);
            let device = y.device().inner();
            let weights = rounded(&random(y.dims(), 99), dtype);
            let weights = Tensor::<2>::from_data(weights.into_data(), (&device, DType::F32));
            let weights = weights.cast(y.dtype());
            let grads = (y.clone() * weights.autodiff()).sum().backward();
            let grads: Vec<Vec<f32>> = tracked
                .iter()
                .map(|t| values(t.grad(&grads).unwrap()))
                .collect();
            (values(y.inner()), grads)
        };
        let on_gpu = inputs.iter().map(|t| there(t, dtype)).collect();
        let (y, grads) = run(on_gpu, &|t| fused(t, dtype));
        let on_cpu = inputs.iter().map(|t| rounded(t, dtype)).collect();
        let (want, want_grads) = run(on_cpu, &|t| plain(t, dtype));
        close(&format!("{what}, result"), &y, &want, tolerance);
        for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
            close(&format!("{what}, gradient {i}"), got, want, 2.0 * tolerance);
        }
        // Without gradients the result is the same, bit for bit.
        let untracked: Vec<_> = inputs.iter().map(|t| there(t, dtype)).collect();
        assert_eq!(
            values(fused(&untracked, dtype)),
            y,
            "{what}: tracking changed the result"
        );
    }
}

const SHAPES: [(usize, usize); 5] = [(1, 8), (3, 17), (7, 64), (40, 96), (130, 1032)];

#[test]
fn norm_and_swiglu() {
    for (m, k) in SHAPES {
        let weight: Tensor<1> = random([k], 6);
        compare(
            "rms_norm",
            &[random([m, k], 7)],
            |t, _| rms_norm(t[0].clone(), there(&weight, DType::F32), 1e-5).unwrap(),
            |t, _| reference::rms_norm(t[0].clone(), weight.clone(), 1e-5),
        );
        compare(
            "swiglu",
            &[random([m, k], 8) * 6.0, random([m, k], 9)],
            |t, _| swiglu(t[0].clone(), t[1].clone()).unwrap(),
            |t, _| reference::swiglu(t[0].clone(), t[1].clone()),
        );
    }
}

#[test]
fn rotary_embedding() {
    for (tokens, heads, half) in [(1, 1, 2), (5, 3, 8), (33, 2, 32), (7, 1, 3)] {
        let angles = random([tokens, half], 10) * 30.0;
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        compare(
            "rotary",
            &[random([tokens, heads * half * 2], 11)],
            |t, _| {
                let (cos, sin) = (there(&cos, DType::F32), there(&sin, DType::F32));
                rotary(t[0].clone(), cos, sin).unwrap()
            },
            |t, _| reference::rotary(t[0].clone(), cos.clone(), sin.clone()),
        );
    }
}

#[test]
fn attention_over_ragged_sequences() {
    let segments = Segment::packed([5, 1, 70, 33]);
    for (heads, kv_heads, head_dim) in [(6, 2, 64), (2, 2, 32), (2, 1, 128)] {
        let causal = AttentionShape::causal(heads, kv_heads, head_dim);
        let shapes = [
            causal,
            AttentionShape {
                causal: false,
                ..causal
            },
            AttentionShape {
                window: Some(9),
                ..causal
            },
            AttentionShape {
                softcap: Some(2.0),
                scale: 0.7,
                ..causal
            },
        ];
        // Each is a kernel of its own, and kernels are compiled when they are first used.
        let num_shapes = if head_dim == 64 { shapes.len() } else { 1 };
        for shape in shapes.into_iter().take(num_shapes) {
            let inputs = [
                random([109, heads * head_dim], 20),
                random([109, kv_heads * head_dim], 21),
                random([109, kv_heads * head_dim], 22),
            ];
            compare(
                &format!("{shape:?}"),
                &inputs,
                |t, _| {
                    let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
                    attention(q, k, v, shape, &segments).unwrap()
                },
                |t, _| {
                    let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
                    reference::attention(q, k, v, shape, &segments)
                },
            );
        }
    }
}

/// Keys that are more than the queries, and shared: what generation does.
#[test]
fn attention_with_a_shared_prefix() {
    let shape = AttentionShape::causal(4, 2, 32);
    let segments = vec![
        Segment {
            queries: 0..3,
            keys: vec![0..40, 40..43],
        },
        Segment {
            queries: 3..4,
            keys: vec![0..40, 43..50],
        },
    ];
    let inputs = [
        random([4, 128], 30),
        random([50, 64], 31),
        random([50, 64], 32),
    ];
    compare_in(
        dtypes(),
        "attention with a shared prefix",
        &inputs,
        |t, _| {
            let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
            attention(q, k, v, shape, &segments).unwrap()
        },
        |t, _| {
            let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
            reference::attention(q, k, v, shape, &segments)
        },
    );
}

/// A head whose width no kernel takes.
#[test]
fn attention_with_an_odd_head() {
    let shape = AttentionShape::causal(2, 1, 20);
    let segments = Segment::packed([7, 4]);
    let inputs = [
        random([11, 40], 33),
        random([11, 20], 34),
        random([11, 20], 35),
    ];
    compare_in(
        dtypes(),
        "attention with an odd head",
        &inputs,
        |t, _| {
            let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
            attention(q, k, v, shape, &segments).unwrap()
        },
        |t, _| {
            let [q, k, v] = [&t[0], &t[1], &t[2]].map(Tensor::clone);
            reference::attention(q, k, v, shape, &segments)
        },
    );
}

#[test]
fn lora_layers() {
    for (m, k, n, r) in [
        (3, 24, 40, 4),
        (33, 64, 17, 3),
        (70, 96, 128, 16),
        // More than a tile in every direction.
        (200, 256, 136, 35),
    ] {
        let weight = random([n, k], 1);
        compare_in(
            dtypes(),
            "linear",
            &[random([m, k], 2)],
            |t, dtype| linear(t[0].clone(), &FrozenWeight::dense(there(&weight, dtype))).unwrap(),
            |t, dtype| reference::linear(t[0].clone(), rounded(&weight, dtype)),
        );
        for dropout in [
            None,
            Some(Dropout {
                p: 0.3,
                seed: 1 << 40 | 11,
            }),
        ] {
            // The factors stay in f32.
            let (a, b) = (random([r, k], 4), random([n, r], 5));
            for (dtype, tolerance) in dtypes() {
                let run = |x: Tensor<2>, a: Tensor<2>, b: Tensor<2>, on_gpu: bool| {
                    let [x, a, b] = [x, a, b].map(|t| t.autodiff().require_grad());
                    let lora = LoraWeights {
                        a: a.clone(),
                        b: b.clone(),
                        scale: 2.0,
                    };
                    let y = if on_gpu {
                        let weight = FrozenWeight::dense(there(&weight, dtype));
                        lora_linear(x.clone(), &weight, lora, dropout).unwrap()
                    } else {
                        let weight = rounded(&weight, dtype);
                        reference::lora_linear(x.clone(), weight, lora, dropout)
                    };
                    let grads = y.clone().sum().backward();
                    let grads = [x, a, b].map(|t| values(t.grad(&grads).unwrap()));
                    (values(y.inner()), grads)
                };
                let x = random([m, k], 3);
                let (y, grads) = run(
                    there(&x, dtype),
                    there(&a, DType::F32),
                    there(&b, DType::F32),
                    true,
                );
                let (want, want_grads) = run(rounded(&x, dtype), a.clone(), b.clone(), false);
                close("lora_linear", &y, &want, tolerance);
                for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
                    let what = format!("lora_linear in {dtype:?}, gradient {i}");
                    close(&what, got, want, 2.0 * tolerance);
                }
            }
        }
    }
}

/// Weights in eight and four bits: the same numbers as on the CPU, forwards and backwards.
#[test]
fn weights_in_few_bits() {
    for format in [WeightFormat::Int8, WeightFormat::Nf4] {
        for [m, k, n] in [[3, 24, 40], [33, 70, 17], [70, 192, 128]] {
            let frozen = |device: &Device| {
                FrozenWeight::new(values(random([n, k], 60)), [n, k], format, device).unwrap()
            };
            let (there, here) = (frozen(&gpu()), frozen(&Device::flex()));
            let dtype = there.input_dtype();
            let what = format!("{format:?} {n} x {k} in {dtype:?}");
            assert_eq!((there.dims(), there.format()), ([n, k], format));
            let weight = rounded(&here.to_tensor(), dtype);
            assert_eq!(values(there.to_tensor()), values(weight.clone()), "{what}");
            let rows = values(there.rows(&[n - 1, 0]).unwrap());
            let of_cpu = rounded(&here.rows(&[n - 1, 0]).unwrap(), dtype);
            assert_eq!(rows, values(of_cpu), "{what}");
            let kept = (4 * n * k) as f64 / there.num_bytes() as f64;
            assert!(
                k % 64 != 0
                    || kept
                        > if format == WeightFormat::Nf4 {
                            7.0
                        } else {
                            3.7
                        }
            );

            let targets: Vec<u32> = (0..m).map(|i| (i * 7919 % n) as u32).collect();
            let tolerances = dtypes().into_iter();
            let dtypes: Vec<_> = tolerances.filter(|(d, _)| *d == dtype).collect();
            let lora = |t: &Tensor<2>| {
                let there = t.device().inner();
                let copy = |t: Tensor<2>| Tensor::<2>::from_data(t.into_data(), &there);
                LoraWeights {
                    a: copy(random([4, k], 62)).autodiff(),
                    b: copy(random([n, 4], 63)).autodiff(),
                    scale: 2.0,
                }
            };
            compare_in(
                dtypes.clone(),
                &format!("lora_linear, {what}"),
                &[random([m, k], 61)],
                |t, _| lora_linear(t[0].clone(), &there, lora(&t[0]), None).unwrap(),
                |t, _| reference::lora_linear(t[0].clone(), weight.clone(), lora(&t[0]), None),
            );
            compare_in(
                dtypes,
                &format!("linear and losses, {what}"),
                &[random([m, k], 64)],
                |t, _| {
                    let y = linear(t[0].clone(), &there).unwrap().cast(DType::F32);
                    let nll = linear_cross_entropy(t[0].clone(), &there, &targets, None);
                    y + nll.unwrap().reshape([m, 1])
                },
                |t, _| {
                    let y = reference::linear(t[0].clone(), weight.clone());
                    let w = weight.clone();
                    let nll = reference::linear_cross_entropy(t[0].clone(), w, &targets, None);
                    y + nll.reshape([m, 1])
                },
            );
        }
    }
}

#[test]
fn losses_of_chunks() {
    // The logits of the last are more than one buffer of a software renderer takes (128 MiB).
    for (n, width, vocab) in [(1, 8, 5), (9, 24, 1000), (300, 32, 77), (600, 8, 60_000)] {
        let targets: Vec<u32> = (0..n).map(|i| (i * 7919 % vocab) as u32).collect();
        let weight = random([vocab, width], 41) * 2.0;
        for softcap in [None, Some(3.0)] {
            if softcap.is_some() && n == 600 {
                continue;
            }
            // Gradients are sums over the classes: rounding grows with their number.
            let factor = if vocab > 10_000 { 5.0 } else { 1.0 };
            let dtypes = dtypes().into_iter();
            compare_in(
                dtypes
                    .map(|(dtype, error)| (dtype, factor * error))
                    .collect(),
                &format!("losses of {n} x {vocab}, soft-cap {softcap:?}"),
                &[random([n, width], 40)],
                |t, dtype| {
                    let weight = FrozenWeight::dense(there(&weight, dtype));
                    let nll = linear_cross_entropy(t[0].clone(), &weight, &targets, softcap);
                    nll.unwrap().reshape([n, 1])
                },
                |t, dtype| {
                    let weight = rounded(&weight, dtype);
                    let nll =
                        reference::linear_cross_entropy(t[0].clone(), weight, &targets, softcap);
                    nll.reshape([n, 1])
                },
            );
        }
    }
}

/// In f32, as weights that are trained are.
#[test]
fn trained_weights() {
    let f32_alone = || dtypes().into_iter().filter(|t| t.0 == DType::F32);
    let of = |weight: &Tensor<2>| FrozenWeight::dense(weight.clone());
    for (m, k, n) in [(1, 8, 5), (3, 17, 33), (40, 96, 130), (130, 64, 1032)] {
        let inputs = [random([m, k], 70), random([n, k], 71)];
        compare_in(
            f32_alone().collect(),
            "trained linear",
            &inputs,
            |t, _| linear(t[0].clone(), &of(&t[1])).unwrap(),
            |t, _| reference::linear(t[0].clone(), t[1].clone()),
        );
        let targets: Vec<u32> = (0..m).map(|i| (i * 31 % n) as u32).collect();
        for softcap in [None, Some(2.5)] {
            compare_in(
                f32_alone().collect(),
                "trained head and loss",
                &inputs,
                |t, _| {
                    let nll = linear_cross_entropy(t[0].clone(), &of(&t[1]), &targets, softcap);
                    nll.unwrap().reshape([m, 1])
                },
                |t, _| {
                    let (x, w) = (t[0].clone(), t[1].clone());
                    reference::linear_cross_entropy(x, w, &targets, softcap).reshape([m, 1])
                },
            );
        }
        compare_in(
            f32_alone().collect(),
            "trained rms_norm",
            &[random([m, k], 72), random([1, k], 73)],
            |t, _| rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5).unwrap(),
            |t, _| reference::rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5),
        );
    }
}

/// Rows of a cache are used again: nothing may be left of what was there.
#[test]
fn rows_are_overwritten() {
    for (dtype, _) in dtypes() {
        let (old, new) = (random([6, 5], 30) * 1e3, random([2, 5], 31));
        let written = write_rows(there(&old, dtype), there(&new, dtype), &[4, 0]).unwrap();
        let got = values(written.cast(DType::F32));
        let (old, new) = (values(rounded(&old, dtype)), values(rounded(&new, dtype)));
        let expected = [&new[5..], &old[5..20], &new[..5], &old[25..]].concat();
        assert_eq!(got, expected, "{dtype:?}");
    }
}

/// More parameters than one kernel serves, of unequal shapes, and none.
#[test]
fn optimiser() {
    let step = AdamWStep {
        betas: (0.9, 0.999),
        eps: 1e-8,
        lr: 1e-2,
        gradient_scale: 0.3,
        step: 3,
    };
    let shapes = [
        [1, 1],
        [16, 576],
        [33, 7],
        [64, 2],
        [1, 5],
        [1, 576],
        [5, 4100],
    ];
    let there = |t: Tensor<2>| there(&t, DType::F32);
    for (num_tensors, shapes) in [(40, &shapes[..]), (17, &shapes[1..2]), (3, &shapes[..1])] {
        let shape = |i: usize| shapes[i % shapes.len()];
        let states = |copy: &dyn Fn(Tensor<2>) -> Tensor<2>| -> Vec<AdamWState> {
            let seeds = (0..num_tensors).map(|i| (i, 50 + 10 * i as u64));
            seeds
                .map(|(i, seed)| AdamWState {
                    parameter: copy(random(shape(i), seed)),
                    exp_avg: copy(random(shape(i), seed + 1) * 0.1),
                    exp_avg_sq: copy(random(shape(i), seed + 2).abs() * 0.01),
                    weight_decay: [0.01, 0.0, 0.5][i % 3],
                })
                .collect()
        };
        let gradients = (0..num_tensors).map(|i| random(shape(i), 53 + 10 * i as u64));
        let gradients: Vec<_> = gradients.collect();
        let on_gpu: Vec<_> = gradients.iter().cloned().map(there).collect();
        let got = adamw(states(&there), on_gpu.clone(), &step).unwrap();
        assert_eq!(got.len(), num_tensors);
        let want = states(&|t| t).into_iter().zip(gradients.clone());
        for (got, (state, gradient)) in got.into_iter().zip(want) {
            let want = reference::adamw(state, gradient, &step);
            for (got, want) in [
                (got.parameter, want.parameter),
                (got.exp_avg, want.exp_avg),
                (got.exp_avg_sq, want.exp_avg_sq),
            ] {
                assert_eq!(got.dims(), want.dims());
                close("adamw", &values(got), &values(want), 1e-6);
            }
        }
        let want = values(sums_of_squares(&gradients).unwrap());
        let got = sums_of_squares(&on_gpu).unwrap();
        close("sums of squares", &values(got), &want, 1e-5);
    }
    assert!(adamw(Vec::new(), Vec::new(), &step).unwrap().is_empty());
}
