//! The gradients of every operation against central differences of its definition in double
//! precision: of the fused CPU versions, or with a GPU backend of the GPU kernels.

// A failure here is the message.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use grsap_kernels::{
    AttentionShape, Dropout, FrozenWeight, LoraWeights, Segment, WeightFormat, attention, linear,
    linear_cross_entropy, lora_linear, reference, rms_norm, rotary, swiglu,
};

fn device() -> Device {
    #[cfg(feature = "cuda")]
    {
        Device::cuda(0)
    }
    #[cfg(all(feature = "wgpu", not(feature = "cuda")))]
    {
        Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
    }
    #[cfg(not(feature = "cube"))]
    {
        Device::flex()
    }
}

const TOLERANCE: f64 = 2e-4;

/// In double precision on the CPU, of numbers that single precision has too.
fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| f64::from(rng.random::<f32>() * 2.0 - 1.0))
        .collect();
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.cast(DType::F64).into_data().try_into_vec().unwrap()
}

fn single<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let data = tensor.clone().cast(DType::F32).into_data();
    Tensor::from_data(data, (&device(), DType::F32))
}

fn frozen(weight: &Tensor<2>, format: WeightFormat) -> FrozenWeight {
    let data = weight.clone().cast(DType::F32).into_data();
    let values = data.try_into_vec::<f32>().unwrap();
    FrozenWeight::new(values, weight.dims(), format, &device()).unwrap()
}

/// As the operations see it.
fn held(weight: &FrozenWeight) -> Tensor<2> {
    let data = weight.to_tensor().into_data();
    Tensor::<2>::from_data(data, (&Device::flex(), DType::F32)).cast(DType::F64)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Differences of a weighted sum of `definition`'s results along random directions, and what the
/// gradients of `operation` say.
fn check(
    what: &str,
    inputs: &[Tensor<2>],
    operation: impl Fn(&[Tensor<2>]) -> Tensor<2>,
    definition: impl Fn(&[Tensor<2>]) -> Tensor<2>,
) {
    let tracked: Vec<_> = inputs
        .iter()
        .map(|t| single(t).autodiff().require_grad())
        .collect();
    let y = operation(&tracked);
    let weights = random(y.dims(), 99);
    let grads = (y * single(&weights).autodiff()).sum().backward();
    let sum = |inputs: &[Tensor<2>]| values((definition(inputs) * weights.clone()).sum())[0];

    const STEP: f64 = 1e-5;
    for (index, input) in inputs.iter().enumerate() {
        let gradient = values(tracked[index].grad(&grads).unwrap());
        assert!(
            gradient.iter().any(|g| *g != 0.0),
            "{what}: no gradient {index}"
        );
        for seed in 0..3 {
            let direction = random(input.dims(), 100 + seed);
            let at = |step: f64| {
                let mut inputs = inputs.to_vec();
                inputs[index] = input.clone() + direction.clone() * step;
                sum(&inputs)
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let direction = values(direction);
            let analytic = dot(&gradient, &direction);
            let sizes = [&gradient, &direction].map(|v| dot(v, v).sqrt());
            // What the product of random vectors of these lengths is like.
            let scale = sizes[0] * sizes[1] / (gradient.len() as f64).sqrt();
            assert!(
                (analytic - difference).abs() <= TOLERANCE * scale,
                "{what}, input {index}: the difference is {difference}, the gradient says {analytic} (scale {scale})"
            );
        }
    }
}

#[test]
fn norm_rotary_and_swiglu() {
    for (m, heads, half) in [(1, 1, 4), (5, 3, 8), (17, 2, 20)] {
        let k = heads * half * 2;
        let weight: Tensor<1> = random([k], 1);
        check(
            "rms_norm",
            &[random([m, k], 2)],
            |t| rms_norm(t[0].clone(), single(&weight), 1e-5).unwrap(),
            |t| reference::rms_norm(t[0].clone(), weight.clone(), 1e-5),
        );
        check(
            "swiglu",
            &[random([m, k], 3) * 4.0, random([m, k], 4)],
            |t| swiglu(t[0].clone(), t[1].clone()).unwrap(),
            |t| reference::swiglu(t[0].clone(), t[1].clone()),
        );
        let angles = random([m, half], 5) * 30.0;
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        check(
            "rotary",
            &[random([m, k], 6)],
            |t| rotary(t[0].clone(), single(&cos), single(&sin)).unwrap(),
            |t| reference::rotary(t[0].clone(), cos.clone(), sin.clone()),
        );
    }
}

#[test]
fn attention_of_packed_sequences() {
    let causal = AttentionShape::causal(4, 2, 32);
    let segments = Segment::packed([5, 1, 19, 33]);
    for shape in [
        causal,
        AttentionShape {
            window: Some(7),
            ..causal
        },
        AttentionShape {
            softcap: Some(2.0),
            ..causal
        },
    ] {
        check(
            &format!("{shape:?}"),
            &[
                random([58, 128], 10),
                random([58, 64], 11),
                random([58, 64], 12),
            ],
            |t| attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments).unwrap(),
            |t| reference::attention(t[0].clone(), t[1].clone(), t[2].clone(), shape, &segments),
        );
    }
}

#[test]
fn linear_layers() {
    // The backward pass of Int8 on the CPU is not that of its rounded forward pass.
    for format in [WeightFormat::F32, WeightFormat::Nf4] {
        for (m, k, n, r) in [(3, 24, 40, 4), (33, 70, 17, 3), (20, 128, 136, 8)] {
            let packed = frozen(&random([n, k], 20), format);
            if packed.input_dtype() != DType::F32 {
                continue; // Four bits are widened to bf16 where a device has it.
            }
            let weight = held(&packed);
            check(
                "linear",
                &[random([m, k], 21)],
                |t| linear(t[0].clone(), &packed).unwrap(),
                |t| reference::linear(t[0].clone(), weight.clone()),
            );
            for dropout in [None, Some(Dropout { p: 0.3, seed: 7 })] {
                let lora = |t: &[Tensor<2>]| LoraWeights {
                    a: t[1].clone(),
                    b: t[2].clone(),
                    scale: 2.0,
                };
                check(
                    "lora_linear",
                    &[random([m, k], 22), random([r, k], 23), random([n, r], 24)],
                    |t| lora_linear(t[0].clone(), &packed, lora(t), dropout).unwrap(),
                    |t| reference::lora_linear(t[0].clone(), weight.clone(), lora(t), dropout),
                );
            }
        }
    }
}

#[test]
fn head_and_loss() {
    for (n, width, vocab) in [(1, 8, 5), (9, 24, 1000), (70, 32, 77)] {
        let targets: Vec<u32> = (0..n).map(|i| (i * 7919 % vocab) as u32).collect();
        let packed = frozen(&(random([vocab, width], 30) * 2.0), WeightFormat::F32);
        let weight = held(&packed);
        for softcap in [None, Some(3.0)] {
            check(
                &format!("{n} losses over {vocab}, soft-cap {softcap:?}"),
                &[random([n, width], 31)],
                |t| {
                    let nll = linear_cross_entropy(t[0].clone(), &packed, &targets, softcap);
                    nll.unwrap().reshape([n, 1])
                },
                |t| {
                    let (x, w) = (t[0].clone(), weight.clone());
                    reference::linear_cross_entropy(x, w, &targets, softcap).reshape([n, 1])
                },
            );
        }
    }
}

#[test]
fn trained_weights() {
    let of = |weight: &Tensor<2>| FrozenWeight::dense(weight.clone());
    for (m, k, n) in [(3, 24, 40), (33, 70, 17), (20, 128, 136)] {
        check(
            "trained linear",
            &[random([m, k], 40), random([n, k], 41)],
            |t| linear(t[0].clone(), &of(&t[1])).unwrap(),
            |t| reference::linear(t[0].clone(), t[1].clone()),
        );
        check(
            "trained rms_norm",
            &[random([m, k], 42), random([1, k], 43)],
            |t| rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5).unwrap(),
            |t| reference::rms_norm(t[0].clone(), t[1].clone().reshape([k]), 1e-5),
        );
        let targets: Vec<u32> = (0..m).map(|i| (i * 7919 % n) as u32).collect();
        for softcap in [None, Some(3.0)] {
            check(
                &format!("trained head and loss, soft-cap {softcap:?}"),
                &[random([m, k], 44), random([n, k], 45)],
                |t| {
                    let nll = linear_cross_entropy(t[0].clone(), &of(&t[1]), &targets, softcap);
                    nll.unwrap().reshape([m, 1])
                },
                |t| {
                    let (x, w) = (t[0].clone(), t[1].clone());
                    reference::linear_cross_entropy(x, w, &targets, softcap).reshape([m, 1])
                },
            );
        }
    }
}
