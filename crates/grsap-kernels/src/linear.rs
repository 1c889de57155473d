use burn::tensor::{DType, Tensor, TensorData};

use crate::error::{KernelError, check};
use crate::ops;
use crate::weight::FrozenWeight;

/// `x · weightᵀ`.
///
/// # Shapes
///
/// `x` is `[tokens, in]`, `weight` is `[out, in]` as in PyTorch, the result is `[tokens, out]`.
///
/// On the CPU a token's result does not depend on the others in the batch, nor on the number of threads.
///
/// # Errors
///
/// When the inner widths differ.
pub fn linear(x: Tensor<2>, weight: &FrozenWeight) -> Result<Tensor<2>, KernelError> {
    check("linear", "width of weight", x.dims()[1], weight.dims()[1])?;
    if let Some(packed) = weight.packed_for(&x) {
        return Ok(ops::linear(x, packed));
    }
    if let Some(dense) = weight.dense_for(&x) {
        return Ok(ops::dense_linear(x, dense));
    }
    Ok(match weight.trained_for(&x) {
        Some(weight) => ops::trained_linear(x, weight),
        None => reference(x, weight.dense_or_unpacked()),
    })
}

/// The same in plain tensor operations.
pub fn reference(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// Dropout whose mask is a function of `seed` and the element's index, so that it need not be kept
/// for the backward pass and is the same on every device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub p: f64,
    /// Fixes the mask.
    pub seed: u64,
}

impl Dropout {
    /// What element `index` is multiplied by: 0, or 1 / (1 - p).
    #[inline(always)]
    pub(crate) fn factor(&self, index: usize) -> f32 {
        // A 32-bit integer hash (two multiplications, five shifts) over a Weyl sequence: one draw
        // for each index, in any order, in vector code.
        let mut z = (index as u32)
            .wrapping_mul(0x9E37_79B9)
            .wrapping_add(self.seed as u32);
        z = (z ^ (z >> 16)).wrapping_mul(0x7FEB_352D);
        z ^= (z >> 15) ^ (self.seed >> 32) as u32;
        z = z.wrapping_mul(0x846C_A68B);
        z ^= z >> 16;
        let (threshold, kept) = self.threshold_and_kept();
        if z < threshold { 0.0 } else { kept }
    }

    /// Hashes below the first drop an element; the others multiply it by the second.
    #[inline(always)]
    pub(crate) fn threshold_and_kept(&self) -> (u32, f32) {
        let threshold = (self.p * 4_294_967_296.0) as u32;
        (threshold, (1.0 / (1.0 - self.p)) as f32)
    }

    fn mask(&self, x: &Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let values: Vec<f32> = (0..rows * width).map(|i| self.factor(i)).collect();
        let mask = Tensor::<2>::from_data(TensorData::new(values, [rows, width]), &x.device());
        mask.cast(x.dtype())
    }
}

/// The low-rank factors of an adapted linear layer.
#[derive(Debug, Clone)]
pub struct LoraWeights {
    /// `[r, in]`, PEFT's `lora_A.weight`.
    pub a: Tensor<2>,
    /// `[out, r]`, PEFT's `lora_B.weight`.
    pub b: Tensor<2>,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)`.
    pub scale: f64,
}

/// `x · weightᵀ + scale * (dropout(x) · aᵀ) · bᵀ`, without forming `b · a`.
///
/// The backward pass gives gradients for `x`, `a` and `b`; `weight` is frozen. Kept for it are the
/// inputs alone and the `[tokens, r]` product.
///
/// # Shapes
///
/// `x` is `[tokens, in]`, `weight` is `[out, in]`, the result is `[tokens, out]`.
///
/// # Errors
///
/// When the shapes do not fit.
///
/// # Source
///
/// Hu et al. 2021, equation 3; PEFT's `lora.Linear`.
pub fn lora_linear(
    x: Tensor<2>,
    weight: &FrozenWeight,
    lora: LoraWeights,
    dropout: Option<Dropout>,
) -> Result<Tensor<2>, KernelError> {
    let op = "lora_linear";
    let ([_, width], [out, weight_width]) = (x.dims(), weight.dims());
    let ([r, a_width], [b_out, b_r]) = (lora.a.dims(), lora.b.dims());
    check(op, "width of weight", width, weight_width)?;
    check(op, "width of a", width, a_width)?;
    check(op, "rows of b", out, b_out)?;
    check(op, "width of b", r, b_r)?;
    let dropout = dropout.filter(|dropout| dropout.p > 0.0);
    let f32_factors = lora.a.dtype() == DType::F32 && lora.b.dtype() == DType::F32;
    if let (Some(packed), true) = (weight.packed_for(&x), f32_factors) {
        return Ok(ops::lora_linear(x, packed, lora, dropout));
    }
    Ok(match weight.dense_for(&x).filter(|_| f32_factors) {
        Some(weight) => ops::dense_lora_linear(x, weight, lora, dropout),
        None => lora_reference(x, weight.dense_or_unpacked(), lora, dropout),
    })
}

/// The same in plain tensor operations.
pub fn lora_reference(
    x: Tensor<2>,
    weight: Tensor<2>,
    lora: LoraWeights,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    let dtype = x.dtype();
    let base = x.clone().matmul(weight.transpose());
    let x = match dropout {
        Some(dropout) => {
            let mask = dropout.mask(&x);
            x * mask
        }
        None => x,
    };
    let low = x.matmul(lora.a.cast(dtype).transpose()) * lora.scale;
    base + low.matmul(lora.b.cast(dtype).transpose())
}
