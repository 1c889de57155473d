//! Every fused CPU operation against its reference in plain tensor operations, forward and
//! backward, on odd shapes.

#![cfg(feature = "flex")]
// A failure here is the message; one range of keys is a list of ranges.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use grsap_kernels::{
    AdamWState, AdamWStep, AttentionShape, Dropout, FrozenWeight, LoraWeights, Segment,
    WeightFormat, adamw, attention, linear, linear_cross_entropy, lora_linear, reference, rms_norm,
    rotary, sums_of_squares, swiglu, write_rows,
};

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| rng.random::<f32>() * 2.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn frozen(weight: &Tensor<2>, format: WeightFormat) -> FrozenWeight {
    let shape = weight.dims();
    FrozenWeight::new(values(weight.clone()), shape, format, &Device::flex()).unwrap()
}

fn rounded(tensor: &Tensor<2>) -> Tensor<2> {
    tensor.clone().cast(DType::BF16).cast(DType::F32)
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let scale = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= tolerance * scale,
            "{what}: element {i} is {g}, the reference has {w}"
        );
    }
}

/// Runs `fused` and `plain` on tracked copies of `inputs` and compares results and gradients.
fn compare(
    what: &str,
    inputs: &[Tensor<2>],
    fused: impl Fn(&[Tensor<2>]) -> Tensor<2>,
    plain: impl Fn(&[Tensor<2>]) -> Tensor<2>,
) {
    let run = |f: &dyn Fn(&[Tensor<2>]) -> Tensor<2>| {
        let tracked: Vec<_> = inputs
            .iter()
            .map(|t| t.clone().autodiff().require_grad())
            .collect();
        let y = f(&tracked);
        let [rows, width] = y.dims();
        let weights = random([rows, width], 99);
        let grads = (y.clone() * weights.autodiff()).sum().backward();
        let grads: Vec<Vec<f32>> = tracked
            .iter()
            .map(|t| values(t.grad(&grads).unwrap()))
            .collect();
        (values(y.inner()), grads)
    };
    let (y, grads) = run(&fused);
    let (want, want_grads) = run(&plain);
    close(&format!("{what} result"), &y, &want, 2e-6);
    for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
        close(&format!("{what} gradient {i}"), got, want, 5e-6);
    }
    // Without gradients the result is the same, bit for bit.
    assert_eq!(
        values(fused(inputs)),
        y,
        "{what}: tracking changed the result"
    );
}

const SHAPES: [(usize, usize, usize); 5] = [
    (1, 8, 4),
    (3, 17, 5),
    (7, 64, 33),
    (40, 96, 70),
    (130, 48, 200),
];

#[test]
fn linear_layers() {
    for (m, k, n) in SHAPES {
        let weight = random([n, k], 1);
        let packed = frozen(&weight, WeightFormat::F32);
        compare(
            "linear",
            &[random([m, k], 2)],
            |t| linear(t[0].clone(), &packed).unwrap(),
            |t| reference::linear(t[0].clone(), weight.clone()),
        );
        for dropout in [None, Some(Dropout { p: 0.3, seed: 11 })] {
            let inputs = [random([m, k], 3), random([3, k], 4), random([n, 3], 5)];
            let lora = |t: &[Tensor<2>]| LoraWeights {
                a: t[1].clone(),
                b: t[2].clone(),
                scale: 2.0,
            };
            compare(
                "lora_linear",
                &inputs,
                |t| lora_linear(t[0].clone(), &packed, lora(t), dropout).unwrap(),
                |t| reference::lora_linear(t[0].clone(), weight.clone(), lora(t), dropout),
            );
        }
    }
}

/// Weights that are trained: gradients by them too, and none by what is not tracked.
#[test]
fn trained_weights() {
    let shapes = SHAPES.into_iter().chain([(200, 130, 90), (33, 700, 260)]);
    for (m, k, n) in shapes {
        let of = |weight: &Tensor<2>| FrozenWeight::dense(weight.clone());
        let inputs = [random([m, k], 2), random([n, k], 1)];
        compare(
            "trained linear",
            &inputs,
            |t| linear(t[0].clone(), &of(&t[1])).unwrap(),
            |t| reference::linear(t[0].clone(), t[1].clone()),
        );
        let alone = |weight: Tensor<2>, x: Tensor<2>| {
            let (x, weight) = (x.autodiff(), weight.autodiff().require_grad());
            let gradients = linear(x.clone(), &of(&weight)).unwrap().sum().backward();
            assert!(x.grad(&gradients).is_none());
            values(weight.grad(&gradients).unwrap())
        };
        let columns = values(inputs[0].clone().sum_dim(0).repeat_dim(0, n));
        let got = alone(inputs[1].clone(), inputs[0].clone());
        close("trained linear, weight alone", &got, &columns, 5e-6);

        let targets: Vec<u32> = (0..m).map(|i| ((i * 31) % n) as u32).collect();
        for softcap in [None, Some(2.5)] {
            compare(
                "trained head and loss",
                &inputs,
                |t| {
                    let nll = linear_cross_entropy(t[0].clone(), &of(&t[1]), &targets, softcap);
                    nll.unwrap().reshape([m, 1])
                },
                |t| {
                    let (hidden, weight) = (t[0].clone(), t[1].clone());
                    let nll = reference::linear_cross_entropy(hidden, weight, &targets, softcap);
                    nll.reshape([m, 1])
                },
            );
        }
        let inputs = [random([m, k], 3), random([1, k], 4)];
        compare(
            "trained norm",
            &inputs,
            |t| rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5).unwrap(),
            |t| reference::rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5),
        );
    }
}

/// To the bit, on tensors of several tasks too; what is held elsewhere stays as it is.
#[test]
fn optimiser() {
    let shapes = [[1, 1], [33, 7], [16, 576], [70, 1000], [0, 4]];
    for gradient_scale in [1.0, 0.3] {
        let step = AdamWStep {
            betas: (0.9, 0.999),
            eps: 1e-8,
            lr: 1e-2,
            gradient_scale,
            step: 3,
        };
        let states: Vec<_> = (0..)
            .zip(shapes)
            .map(|(seed, shape)| AdamWState {
                parameter: random(shape, 10 * seed),
                exp_avg: random(shape, 10 * seed + 1) * 0.1,
                exp_avg_sq: random(shape, 10 * seed + 2).abs() * 0.01,
                weight_decay: if seed == 1 { 0.0 } else { 0.1 },
            })
            .collect();
        let gradients: Vec<Tensor<2>> = (0..)
            .zip(shapes)
            .map(|(seed, [rows, width])| random([width, rows], 10 * seed + 3).transpose())
            .collect();
        let before: Vec<_> = states
            .iter()
            .map(|s| values(s.parameter.clone() * 1.0))
            .collect();
        let got = adamw(states.clone(), gradients.clone(), &step).unwrap();
        assert_eq!(got.len(), shapes.len());
        for ((got, state), gradient) in got.into_iter().zip(states.clone()).zip(gradients.clone()) {
            let want = reference::adamw(state, gradient, &step);
            assert_eq!(values(got.parameter), values(want.parameter));
            assert_eq!(values(got.exp_avg), values(want.exp_avg));
            assert_eq!(values(got.exp_avg_sq), values(want.exp_avg_sq));
            assert_eq!(got.weight_decay, want.weight_decay);
        }
        let after = states.iter().map(|s| values(s.parameter.clone()));
        assert_eq!(after.collect::<Vec<_>>(), before);

        let sums = values(sums_of_squares(&gradients).unwrap());
        for (sum, gradient) in sums.into_iter().zip(&gradients) {
            let squares = values(gradient.clone())
                .into_iter()
                .map(|g| f64::from(g).powi(2));
            let want: f64 = squares.sum();
            assert!((f64::from(sum) - want).abs() <= 1e-6 * want, "{sum} {want}");
        }
        let error = adamw(states, gradients[1..].to_vec(), &step).unwrap_err();
        assert!(error.to_string().contains("gradients"), "{error}");
    }
}

/// Rounding aside, `bf16` is the same operation: on factors that are rounded already there is no
/// difference, forward. Backward the gradient of the result is rounded too.
#[test]
fn bf16_layers() {
    for (m, k, n) in SHAPES {
        let weight = rounded(&random([n, k], 31));
        let packed = frozen(&weight, WeightFormat::Bf16);
        assert_eq!(values(packed.to_tensor()), values(weight.clone()));
        let x = rounded(&random([m, k], 32));
        let y = values(linear(x.clone(), &packed).unwrap());
        let want = values(reference::linear(x.clone(), weight.clone()));
        close("bf16 linear", &y, &want, 2e-6);

        let targets: Vec<u32> = (0..m).map(|i| (i * 7919 % n) as u32).collect();
        let nll = linear_cross_entropy(x.clone(), &packed, &targets, None).unwrap();
        let want = reference::linear_cross_entropy(x.clone(), weight.clone(), &targets, None);
        close("bf16 losses", &values(nll), &values(want), 2e-6);

        let lora = LoraWeights {
            a: random([3, k], 33),
            b: random([n, 3], 34),
            scale: 2.0,
        };
        same_lora_gradients("bf16", &packed, &x, &lora, &rounded(&random([m, n], 37)));
        let y = lora_linear(x.clone(), &packed, lora.clone(), None).unwrap();
        let want = reference::lora_linear(x.clone(), weight.clone(), lora, None);
        close("bf16 lora_linear", &values(y), &values(want), 2e-6);

        let dy = random([m, n], 35);
        let x = x.autodiff().require_grad();
        let y = linear(x.clone(), &packed).unwrap();
        let grads = (y * dy.clone().autodiff()).sum().backward();
        let dx = values(x.grad(&grads).unwrap());
        close(
            "bf16 gradient",
            &dx,
            &values(rounded(&dy).matmul(weight)),
            2e-6,
        );
    }
}

/// The gradients of a low-rank layer with dropout, by its input and its factors. `x` and `dy` are such
/// that the weight's format rounds neither.
fn same_lora_gradients(
    name: &str,
    packed: &FrozenWeight,
    x: &Tensor<2>,
    lora: &LoraWeights,
    dy: &Tensor<2>,
) {
    let dropout = Some(Dropout { p: 0.3, seed: 12 });
    let gradients = |layer: &dyn Fn(Tensor<2>, LoraWeights) -> Tensor<2>| {
        let leaves = [x, &lora.a, &lora.b].map(|t| t.clone().autodiff().require_grad());
        let [x, a, b] = leaves.clone();
        let scale = lora.scale;
        let y = layer(x, LoraWeights { a, b, scale });
        let gradients = (y * dy.clone().autodiff()).sum().backward();
        leaves.map(|leaf| values(leaf.grad(&gradients).unwrap()))
    };
    let got = gradients(&|x, lora| lora_linear(x, packed, lora, dropout).unwrap());
    let weight = packed.to_tensor();
    let want =
        gradients(&|x, lora| reference::lora_linear(x, weight.clone().autodiff(), lora, dropout));
    for ((got, want), by) in got.iter().zip(&want).zip(["x", "a", "b"]) {
        close(&format!("{name} lora_linear by {by}"), got, want, 2e-6);
    }
}

/// Rounding aside, `int8` is the same operation too: inputs that are whole numbers up to 127 in every
/// block lose nothing. Gradients are computed in single precision.
#[test]
fn int8_layers() {
    for (m, k, n) in SHAPES {
        let packed = frozen(&random([n, k], 41), WeightFormat::Int8);
        let weight = packed.to_tensor();
        let mut x = values((random([m, k], 42) * 50.0).round());
        for row in x.chunks_mut(k) {
            for block in row.chunks_mut(64) {
                block.iter_mut().for_each(|x| *x = x.clamp(-127.0, 127.0));
                block[0] = 127.0;
            }
        }
        let x = Tensor::<2>::from_data(TensorData::new(x, [m, k]), &Device::flex());
        let y = values(linear(x.clone(), &packed).unwrap());
        let want = values(reference::linear(x.clone(), weight.clone()));
        close("int8 linear", &y, &want, 2e-6);

        let targets: Vec<u32> = (0..m).map(|i| (i * 7919 % n) as u32).collect();
        let nll = linear_cross_entropy(x.clone(), &packed, &targets, None).unwrap();
        let want = reference::linear_cross_entropy(x.clone(), weight.clone(), &targets, None);
        close("int8 losses", &values(nll), &values(want), 2e-6);

        let lora = LoraWeights {
            a: random([3, k], 43),
            b: random([n, 3], 44),
            scale: 2.0,
        };
        let dy = random([m, n], 45);
        same_lora_gradients("int8", &packed, &x, &lora, &dy);
        let x = x.autodiff().require_grad();
        let y = linear(x.clone(), &packed).unwrap();
        let grads = (y * dy.clone().autodiff()).sum().backward();
        let dx = values(x.grad(&grads).unwrap());
        close("int8 gradient", &dx, &values(dy.matmul(weight)), 2e-6);
    }
}

/// Sixteen numbers to a block's largest, the nearest of which stands for each weight.
#[test]
fn nf4_takes_the_nearest() {
    let (k, n) = (200, 37);
    let mut weight = values(random([n, k], 51));
    weight[3 * k..4 * k].fill(0.0);
    let tensor = Tensor::<2>::from_data(TensorData::new(weight.clone(), [n, k]), &Device::flex());
    let packed = frozen(&tensor, WeightFormat::Nf4);
    let got = values(packed.to_tensor());
    let mut seen = std::collections::BTreeSet::new();
    for (row, got) in weight.chunks(k).zip(got.chunks(k)) {
        for (block, got) in row.chunks(64).zip(got.chunks(64)) {
            let largest = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            for (&x, &y) in block.iter().zip(got) {
                // Steps are widest at the ends, at -1 and -0.696.
                assert!((x - y).abs() <= 0.1521 * largest, "{x} became {y}");
                if largest > 0.0 {
                    seen.insert((y / largest * 1e5).round() as i64);
                }
            }
        }
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
    assert!(got[3 * k..4 * k].iter().all(|&x| x == 0.0));
    // Four bits each and a scale for 64, in panels of 32 outputs and blocks of 64 inputs.
    assert_eq!(packed.num_bytes(), 64 * 256 / 2 + 64 * 4 * 4);

    // A number that is not finite spoils its own block.
    weight[5] = f32::INFINITY;
    weight[k] = f32::NAN;
    let tensor = Tensor::<2>::from_data(TensorData::new(weight, [n, k]), &Device::flex());
    let spoilt = values(frozen(&tensor, WeightFormat::Nf4).to_tensor());
    for (at, (got, before)) in spoilt.iter().zip(&got).enumerate() {
        let bad = at < 64 || (k..k + 64).contains(&at);
        assert_eq!(got.is_nan(), bad, "element {at}");
        assert!(bad || got == before);
    }
}

/// Rounding the weight aside, `nf4` is the same operation.
#[test]
fn nf4_layers() {
    for (m, k, n) in SHAPES.into_iter().chain([(5, 130, 800)]) {
        let packed = frozen(&random([n, k], 52), WeightFormat::Nf4);
        let weight = packed.to_tensor();
        let targets: Vec<u32> = (0..m).map(|i| (i * 7919 % n) as u32).collect();
        compare(
            "nf4 linear",
            &[random([m, k], 53)],
            |t| linear(t[0].clone(), &packed).unwrap(),
            |t| reference::linear(t[0].clone(), weight.clone()),
        );
        compare(
            "nf4 losses",
            &[random([m, k], 54)],
            |t| {
                let nll = linear_cross_entropy(t[0].clone(), &packed, &targets, None);
                nll.unwrap().unsqueeze()
            },
            |t| {
                let weight = weight.clone();
                reference::linear_cross_entropy(t[0].clone(), weight, &targets, None).unsqueeze()
            },
        );
        let inputs = [random([m, k], 55), random([3, k], 56), random([n, 3], 57)];
        let lora = |t: &[Tensor<2>]| LoraWeights {
            a: t[1].clone(),
            b: t[2].clone(),
            scale: 2.0,
        };
        let dropout = Some(Dropout { p: 0.3, seed: 11 });
        compare(
            "nf4 lora_linear",
            &inputs,
            |t| lora_linear(t[0].clone(), &packed, lora(t), dropout).unwrap(),
            |t| reference::lora_linear(t[0].clone(), weight.clone(), lora(t), dropout),
        );
    }
}

#[test]
fn frozen_weights_keep_their_values() {
    let weight = random([37, 11], 36);
    let packed = frozen(&weight, WeightFormat::F32);
    assert_eq!(packed.dims(), [37, 11]);
    assert_eq!(values(packed.to_tensor()), values(weight.clone()));
    let rows = packed.rows(&[36, 0, 36]).unwrap();
    let dense = FrozenWeight::dense(weight.clone());
    assert_eq!(values(rows), values(dense.rows(&[36, 0, 36]).unwrap()));
    for weight in [&packed, &dense] {
        let error = weight.rows(&[1, 37]).unwrap_err();
        assert_eq!(error.to_string(), "rows: row 37 is out of range for 37");
        let doubled = weight.replaced(weight.to_tensor() * 2.0);
        assert_eq!(
            values(doubled.to_tensor()),
            values(weight.to_tensor() * 2.0)
        );
        assert_eq!(doubled.num_bytes(), weight.num_bytes());
    }
    let half = frozen(&weight, WeightFormat::Bf16);
    let tripled = half.replaced(half.to_tensor() * 3.0);
    assert_eq!(tripled.format(), WeightFormat::Bf16);
    assert_eq!(
        values(tripled.to_tensor()),
        values(rounded(&(half.to_tensor() * 3.0)))
    );

    let (format, flex) = (WeightFormat::F32, Device::flex());
    let error = FrozenWeight::new(vec![0.0; 5], [2, 3], format, &flex).unwrap_err();
    assert_eq!(
        error.to_string(),
        "frozen_weight: number of values must be 6, got 5"
    );
}

#[test]
fn dropout_keeps_its_share_and_its_mean() {
    let ones = Tensor::<2>::ones([100, 1000], &Device::flex());
    let eye = Tensor::<2>::eye(1000, &Device::flex());
    let zero = Tensor::<2>::zeros([1000, 1000], &Device::flex());
    let zero = frozen(&zero, WeightFormat::F32);
    let lora = LoraWeights {
        a: eye.clone(),
        b: eye,
        scale: 1.0,
    };
    let y = values(lora_linear(ones, &zero, lora, Some(Dropout { p: 0.25, seed: 5 })).unwrap());
    let kept = y.iter().filter(|&&x| x != 0.0).count() as f64 / y.len() as f64;
    assert!((kept - 0.75).abs() < 0.01, "{kept}");
    assert!(y.iter().all(|&x| x == 0.0 || (x - 1.0 / 0.75).abs() < 1e-6));
}

#[test]
fn norm_and_swiglu() {
    for (m, k, _) in SHAPES {
        let weight: Tensor<1> = random([k], 6);
        compare(
            "rms_norm",
            &[random([m, k], 7)],
            |t| rms_norm(t[0].clone(), weight.clone(), 1e-5).unwrap(),
            |t| reference::rms_norm(t[0].clone(), weight.clone(), 1e-5),
        );
        compare(
            "swiglu",
            &[random([m, k], 8) * 6.0, random([m, k], 9)],
            |t| swiglu(t[0].clone(), t[1].clone()).unwrap(),
            |t| reference::swiglu(t[0].clone(), t[1].clone()),
        );
    }
}

#[test]
fn rotary_embedding() {
    for (tokens, heads, half) in [(1, 1, 2), (5, 3, 8), (33, 2, 32)] {
        let angles = random([tokens, half], 10) * 30.0;
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        compare(
            "rotary",
            &[random([tokens, heads * half * 2], 11)],
            |t| rotary(t[0].clone(), cos.clone(), sin.clone()).unwrap(),
            |t| reference::rotary(t[0].clone(), cos.clone(), sin.clone()),
        );
    }
}

#[test]
fn attention_over_ragged_sequences() {
    for (num_heads, num_kv_heads, head_dim) in [(1, 1, 4), (6, 2, 16), (9, 3, 64), (4, 4, 20)] {
        let causal = AttentionShape::causal(num_heads, num_kv_heads, head_dim);
        let shapes = [
            causal,
            AttentionShape {
                causal: false,
                ..causal
            },
            AttentionShape {
                window: Some(7),
                ..causal
            },
            AttentionShape {
                window: Some(1),
                scale: 0.3,
                ..causal
            },
            // A cap that bends most scores.
            AttentionShape {
                scale: 2.0,
                softcap: Some(1.5),
                ..causal
            },
            AttentionShape {
                softcap: Some(0.4),
                window: Some(33),
                ..causal
            },
            AttentionShape {
                causal: false,
                softcap: Some(50.0),
                ..causal
            },
        ];
        for shape in shapes {
            let segments = Segment::packed([5, 1, 37, 70]);
            let kv = num_kv_heads * head_dim;
            compare(
                &format!("attention {shape:?}"),
                &[
                    random([113, num_heads * head_dim], 12),
                    random([113, kv], 13),
                    random([113, kv], 14),
                ],
                |t| attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments).unwrap(),
                |t| {
                    reference::attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments)
                },
            );
        }
    }
}

/// A window that ends inside a shared prefix, between the ranges, and inside the own rows.
#[test]
fn a_window_slides_over_the_ranges_of_a_segment() {
    let segments = [
        Segment {
            queries: 0..4,
            keys: vec![2..8, 8..8, 10..15],
        },
        Segment {
            queries: 4..5,
            keys: vec![2..8, 15..16],
        },
    ];
    for window in 1..13 {
        let shape = AttentionShape {
            window: Some(window),
            softcap: (window % 2 == 0).then_some(0.7),
            ..AttentionShape::causal(4, 2, 8)
        };
        compare(
            &format!("window {window}"),
            &[
                random([5, 32], 15),
                random([16, 16], 16),
                random([16, 16], 17),
            ],
            |t| attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments).unwrap(),
            |t| reference::attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments),
        );
    }
    // Keys outside the window change nothing; the first key inside it does.
    let shape = AttentionShape {
        window: Some(3),
        ..AttentionShape::causal(1, 1, 4)
    };
    let (q, k, v) = (random([6, 4], 30), random([6, 4], 31), random([6, 4], 32));
    let segments = Segment::packed([6]);
    let run = |changed: usize| {
        let mut k = values(k.clone());
        k[changed * 4..changed * 4 + 4].fill(3.0);
        let k = burn::tensor::TensorData::new(k, [6, 4]);
        let k = Tensor::from_data(k, &Device::flex());
        let y = attention(q.clone(), k, v.clone(), shape, &segments).unwrap();
        values(y)[20..].to_vec()
    };
    let base = attention(q.clone(), k.clone(), v.clone(), shape, &segments).unwrap();
    let base = &values(base)[20..];
    for changed in 0..6 {
        assert_eq!(run(changed) == base, changed < 3, "key {changed}");
    }
}

#[test]
fn attention_with_a_shared_prefix_and_gradients_of_shared_rows() {
    let shape = AttentionShape::causal(4, 2, 8);
    // Two continuations of one prefix (rows 0..6); their own rows lie behind each other.
    let segments = [
        Segment {
            queries: 0..2,
            keys: vec![0..6, 6..9],
        },
        Segment {
            queries: 2..3,
            keys: vec![0..6, 9..11],
        },
    ];
    compare(
        "shared prefix",
        &[
            random([3, 32], 15),
            random([12, 16], 16),
            random([12, 16], 17),
        ],
        |t| attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments).unwrap(),
        |t| reference::attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments),
    );
}

#[test]
fn a_token_does_not_depend_on_its_batch() {
    let shape = AttentionShape::causal(3, 1, 16);
    let (q, k, v) = (
        random([90, 48], 18),
        random([90, 16], 19),
        random([90, 16], 20),
    );
    let all = values(
        attention(
            q.clone(),
            k.clone(),
            v.clone(),
            shape,
            &Segment::packed([20, 70]),
        )
        .unwrap(),
    );
    let cut = |t: &Tensor<2>| t.clone().narrow(0, 20, 70);
    let alone = attention(cut(&q), cut(&k), cut(&v), shape, &Segment::packed([70])).unwrap();
    assert_eq!(values(alone), all[20 * 48..]);
    // Nor on those behind it.
    for len in [16, 33, 57] {
        let cut = |t: &Tensor<2>| t.clone().narrow(0, 20, len);
        let part = attention(cut(&q), cut(&k), cut(&v), shape, &Segment::packed([len])).unwrap();
        assert_eq!(values(part), all[20 * 48..(20 + len) * 48], "{len} tokens");
    }
    // The last token alone against a cache of all keys: in another order of additions.
    let last = [Segment {
        queries: 0..1,
        keys: vec![20..90],
    }];
    let query = q.clone().narrow(0, 89, 1);
    let one = attention(query, k.clone(), v.clone(), shape, &last).unwrap();
    close(
        "the last token",
        &values(one.clone()),
        &all[89 * 48..],
        1e-6,
    );
    // And with its keys in two places, in the same.
    let apart = |t: &Tensor<2>| {
        let parts = [(20, 30), (0, 20), (50, 40)].map(|(from, len)| t.clone().narrow(0, from, len));
        Tensor::cat(parts.to_vec(), 0)
    };
    let places = [Segment {
        queries: 0..1,
        keys: vec![0..30, 50..90],
    }];
    let again = attention(q.narrow(0, 89, 1), apart(&k), apart(&v), shape, &places).unwrap();
    assert_eq!(values(again), values(one));
}

#[test]
fn head_and_loss() {
    for (n, width, vocab) in [(1, 8, 5), (9, 33, 1000), (70, 16, 70_000)] {
        let weight = random([vocab, width], 21);
        let packed = frozen(&weight, WeightFormat::F32);
        let targets: Vec<u32> = (0..n).map(|i| ((i * 7919) % vocab) as u32).collect();
        for softcap in [None, Some(1.0), Some(30.0)] {
            compare(
                &format!("linear_cross_entropy {softcap:?}"),
                &[random([n, width], 22)],
                |t| {
                    linear_cross_entropy(t[0].clone(), &packed, &targets, softcap)
                        .unwrap()
                        .reshape([n, 1])
                },
                |t| {
                    let hidden = t[0].clone();
                    reference::linear_cross_entropy(hidden, weight.clone(), &targets, softcap)
                        .reshape([n, 1])
                },
            );
        }
    }
}

#[test]
fn rows_are_written_in_place_or_to_a_copy() {
    let buffer = random([6, 3], 22) * 1e3;
    let shared = buffer.clone();
    let rows = [4, 0];
    let new = random([2, 3], 23);
    let got = values(write_rows(buffer.clone(), new.clone(), &rows).unwrap());
    let reference = values(reference::write_rows(buffer.clone(), new.clone(), &rows));
    assert_eq!(got, reference);
    // Nothing is left of what was there.
    let new = values(new);
    assert_eq!((&got[12..15], &got[..3]), (&new[..3], &new[3..]));
    assert_eq!(
        values(shared),
        values(buffer),
        "a shared buffer was changed"
    );
}

#[test]
fn misfits_are_errors() {
    let x = random([2, 4], 24);
    let error = linear(x.clone(), &frozen(&random([3, 5], 25), WeightFormat::F32)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linear: width of weight must be 4, got 5"
    );
    let weight = FrozenWeight::dense(random([3, 4], 26));
    let error = linear_cross_entropy(x.clone(), &weight, &[0, 3], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linear_cross_entropy: target 3 is out of range for 3"
    );
    let shape = AttentionShape::causal(2, 2, 2);
    let t = || x.clone();
    let segments = [Segment {
        queries: 0..2,
        keys: vec![0..1],
    }];
    let error = attention(t(), t(), t(), shape, &segments).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: segment 0 has 2 queries and 1 keys"
    );
    let segments = [Segment {
        queries: 0..2,
        keys: vec![0..3],
    }];
    assert!(attention(t(), t(), t(), shape, &segments).is_err());
    // Rows that were counted already, backwards.
    let backwards = [(0, 2), (2, 1), (1, 2)].map(|(start, end)| Segment {
        queries: start..end,
        keys: vec![0..2],
    });
    let error = attention(t(), t(), t(), shape, &backwards).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: query row 2 is out of range for 1"
    );
    let half = x.clone().cast(DType::BF16);
    let error = attention(t(), half.clone(), t(), shape, &Segment::packed([2])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention: k is BF16, the first input F32"
    );
    assert!(swiglu(t(), half).is_err());
    let packed = Segment::packed([2]);
    for (bad, message) in [
        (AttentionShape::causal(2, 0, 2), "width of k"),
        (
            AttentionShape {
                window: Some(0),
                ..shape
            },
            "the window of causal attention must be above zero",
        ),
        (
            AttentionShape {
                window: Some(1),
                causal: false,
                ..shape
            },
            "the window of causal attention must be above zero",
        ),
        (
            AttentionShape {
                softcap: Some(f32::NAN),
                ..shape
            },
            "the softcap must be above zero",
        ),
    ] {
        let error = attention(t(), t(), t(), bad, &packed).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(write_rows(t(), t(), &[0, 2]).is_err());
}
