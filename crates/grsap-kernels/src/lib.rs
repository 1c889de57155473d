//! The tensor operations that a decoder spends its time in, on any Burn device.
//!
//! Every operation has a *reference* in plain tensor operations, which runs and differentiates on
//! every backend, and fused versions with hand-written backward passes: for the CPU (Burn's Flex
//! backend, `f32`), and as CubeCL kernels for GPUs (CUDA, wgpu; `f32`, `f16`, `bf16`). The public functions choose by the device of their input; [`mod@reference`] names
//! the plain versions.
//!
//! Sequences are not padded: all tokens of a batch stand one after another in `[tokens, width]`
//! tensors, and [`Segment`]s say which rows belong together.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! let x = Tensor::<2>::from_floats([[3.0, 4.0]], &device);
//! let weight = Tensor::<1>::from_floats([1.0, 2.0], &device);
//! let y = grsap_kernels::rms_norm(x, weight, 0.0)?;
//! let y = y.into_data().try_into_vec::<f32>().unwrap();
//! assert!((y[0] - 0.848_528).abs() < 1e-5 && (y[1] - 2.262_742).abs() < 1e-5);
//! # Ok::<(), grsap_kernels::KernelError>(())
//! ```

// Without the CPU backend there is no packed weight: its type is empty.
#![cfg_attr(not(feature = "flex"), allow(unreachable_code))]

mod adamw;
mod attention;
mod blocks;
mod cross_entropy;
mod error;
#[cfg(any(test, feature = "cublas"))]
mod gemm;
mod keep_memory;
mod linear;
mod ops;
mod rms_norm;
mod rotary;
mod rows;
mod segment;
mod softmax_weights;
mod sums_of_squares;
mod swiglu;
mod weight;

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;

pub use adamw::{AdamWState, AdamWStep, adamw};
pub use attention::attention;
pub use cross_entropy::linear_cross_entropy;
#[cfg(feature = "cublas")]
pub use cube::num_cublas_products;
pub use error::KernelError;
pub use keep_memory::keep_memory;
pub use linear::{Dropout, LoraWeights, linear, lora_linear};
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use rows::write_rows;
pub use segment::{AttentionShape, Segment};
pub use softmax_weights::SoftmaxWeights;
pub use sums_of_squares::sums_of_squares;
pub use swiglu::swiglu;
pub use weight::{FrozenWeight, WeightFormat};

/// The operations in plain tensor operations: the definition that the fused versions are tested
/// against, and what runs where there is no fused version.
pub mod reference {
    pub use crate::adamw::reference as adamw;
    pub use crate::attention::reference as attention;
    pub use crate::cross_entropy::reference as linear_cross_entropy;
    pub use crate::linear::{lora_reference as lora_linear, reference as linear};
    pub use crate::rms_norm::reference as rms_norm;
    pub use crate::rotary::reference as rotary;
    pub use crate::rows::reference as write_rows;
    pub use crate::swiglu::reference as swiglu;
}

use burn::tensor::{DType, Device, Tensor};

/// What the references compute in.
fn at_least_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F64 => x,
        _ => x.cast(DType::F32),
    }
}

/// Whether the fused CPU version takes these inputs.
fn is_fused<const D: usize>(x: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    {
        x.dtype() == DType::F32 && x.device() == Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = x;
        false
    }
}

/// Whether the GPU kernels take these inputs.
fn is_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16) && has_kernels(&x.device())
}

/// Whether there is a version of the optimiser's operations, which are for f32, that takes these.
fn are_together<'a>(tensors: impl IntoIterator<Item = &'a Tensor<2>>) -> bool {
    let mut tensors = tensors.into_iter().peekable();
    let Some(device) = tensors.peek().map(|first| first.device()) else {
        return false;
    };
    tensors.all(|t| t.dtype() == DType::F32 && has_fused(t) && t.device() == device)
}

/// Whether it is a GPU that there are kernels for.
fn has_kernels(device: &Device) -> bool {
    #[cfg(feature = "cube")]
    {
        use burn::backend::DispatchDevice;
        matches!(
            device.clone().without_autodiff().as_dispatch(),
            DispatchDevice::Cube(_)
        )
    }
    #[cfg(not(feature = "cube"))]
    {
        let _ = device;
        false
    }
}

/// Whether there is any of the two.
fn has_fused<const D: usize>(x: &Tensor<D>) -> bool {
    is_fused(x) || is_gpu(x)
}
