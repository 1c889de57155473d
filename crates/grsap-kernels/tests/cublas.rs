//! Products that are large enough for cuBLASLt, between kernels of CubeCL's that write their inputs
//! and read their results, against the CPU.

#![cfg(feature = "cublas")]
// A failure here is the message.
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use grsap_kernels::{
    FrozenWeight, LoraWeights, WeightFormat, linear, lora_linear, num_cublas_products, reference,
};

fn random(shape: [usize; 2], seed: u64) -> Tensor<2> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| rng.random::<f32>() * 2.0 - 1.0)
        .collect();
    let values = Tensor::<2>::from_data(TensorData::new(values, shape), &Device::flex());
    values.cast(DType::BF16).cast(DType::F32)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 0.02 * scale, "{what}: {i}: {g}, not {w}");
    }
}

/// Forwards, backwards, and again in the next pass, whose buffers are those that the first let go.
#[test]
fn large_products_are_in_order_with_the_kernels_around_them() {
    let gpu = Device::cuda(0);
    let (m, k, n) = (2048, 2304, 2080);
    let weight = random([n, k], 1);
    let frozen = |device: &Device, format| {
        FrozenWeight::new(values(weight.clone()), [n, k], format, device).unwrap()
    };
    let (there, here) = (
        frozen(&gpu, WeightFormat::Bf16),
        frozen(&Device::flex(), WeightFormat::F32),
    );
    let lora = LoraWeights {
        a: random([16, k], 2),
        b: random([n, 16], 3),
        scale: 0.5,
    };
    let before = num_cublas_products();
    for seed in [4, 5, 6] {
        let run = |weight: &FrozenWeight, device: &Device, dtype: DType| {
            let there = |tensor: &Tensor<2>| {
                let data = TensorData::new(values(tensor.clone()), tensor.dims());
                Tensor::<2>::from_data(data, (device, DType::F32))
            };
            // Sums of kernels before it, so that a product that does not wait is seen.
            let x = (there(&random([m, k], seed)) * 0.5 + 0.25).cast(dtype);
            let x = x.autodiff().require_grad();
            let (a, b) = (there(&lora.a), there(&lora.b));
            let [a, b] = [a, b].map(|t| t.autodiff().require_grad());
            let (leaf_a, leaf_b, scale) = (a.clone(), b.clone(), lora.scale);
            let y = lora_linear(x.clone(), weight, LoraWeights { a, b, scale }, None).unwrap();
            let dy = there(&random([m, n], 7)).cast(dtype).autodiff();
            let grads = (y.clone() * dy).sum().backward();
            let by = [&x, &leaf_a, &leaf_b].map(|leaf| values(leaf.grad(&grads).unwrap()));
            (values(y.inner()), by)
        };
        let (y, by) = run(&there, &gpu, DType::BF16);
        let (want_y, want_by) = run(&here, &Device::flex(), DType::F32);
        close("result", &y, &want_y);
        for ((got, want), name) in by.iter().zip(&want_by).zip(["x", "a", "b"]) {
            close(&format!("gradient by {name}"), got, want);
        }
    }
    assert!(num_cublas_products() >= before + 6, "cuBLASLt was not used");
}

/// Rows from the middle of a larger tensor; and numbers of 32 bits, which are not for the library.
#[test]
fn rows_of_a_tensor_are_taken_where_they_are() {
    let gpu = Device::cuda(0);
    let (m, k, n) = (2048, 2304, 2080);
    let (hidden, weight) = (random([m + 24, k], 8), random([n, k], 9));
    for (format, dtype, count) in [
        (WeightFormat::Bf16, DType::BF16, 1),
        (WeightFormat::F32, DType::F32, 0),
    ] {
        let there = FrozenWeight::new(values(weight.clone()), [n, k], format, &gpu).unwrap();
        let data = TensorData::new(values(hidden.clone()), [m + 24, k]);
        let x = Tensor::<2>::from_data(data, (&gpu, DType::F32)).cast(dtype);
        let before = num_cublas_products();
        let y = linear(x.slice([8..m + 8, 0..k]), &there).unwrap();
        let want = reference::linear(hidden.clone().slice([8..m + 8, 0..k]), weight.clone());
        close("rows", &values(y), &values(want));
        assert_eq!(num_cublas_products(), before + count, "{format}");
    }
}
