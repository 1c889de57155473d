use burn::tensor::{DType, Tensor};

use crate::error::{KernelError, check};
use crate::ops;

/// `x / sqrt(mean(x²) + eps) * weight`, row by row.
///
/// # Shapes
///
/// `x` is `[tokens, width]`, `weight` is `[width]`, the result is `[tokens, width]`.
///
/// # Errors
///
/// When the widths differ.
///
/// # Source
///
/// Zhang and Sennrich 2019; statistics in `f32`, as `LlamaRMSNorm` in transformers.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Result<Tensor<2>, KernelError> {
    check(
        "rms_norm",
        "length of weight",
        x.dims()[1],
        weight.dims()[0],
    )?;
    // The gradient by the weight is for f32.
    let is_trained = weight.is_tracked();
    if crate::has_fused(&x) && (!is_trained || x.dtype() == DType::F32) {
        return Ok(ops::rms_norm(x, weight.cast(DType::F32), eps));
    }
    Ok(reference(x, weight, eps))
}

/// The same in plain tensor operations.
pub fn reference(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let x = crate::at_least_f32(x);
    let mean_square = x.clone().powi_scalar(2).mean_dim(1);
    let normed = x / (mean_square + eps).sqrt();
    let weight = weight.cast(normed.dtype());
    (normed * weight.unsqueeze()).cast(dtype)
}
