use burn::tensor::{DType, Tensor};

use crate::error::{KernelError, check};
use crate::ops;

/// Rotary position embedding of the half-split kind: the pairs are `(i, i + head_dim / 2)`.
///
/// # Shapes
///
/// `x` is `[tokens, heads * head_dim]`; `cos` and `sin` are `[tokens, head_dim / 2]`, the angles of
/// each token's position.
///
/// # Errors
///
/// When the shapes do not fit.
///
/// # Source
///
/// Su et al. 2021; the layout of `apply_rotary_pos_emb` in transformers.
pub fn rotary(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Result<Tensor<2>, KernelError> {
    let ([tokens, width], [cos_rows, half]) = (x.dims(), cos.dims());
    let [sin_rows, sin_half] = sin.dims();
    check("rotary", "rows of cos", tokens, cos_rows)?;
    check("rotary", "rows of sin", tokens, sin_rows)?;
    check("rotary", "width of sin", half, sin_half)?;
    check(
        "rotary",
        "width of x modulo head_dim",
        0,
        width.checked_rem(2 * half).unwrap_or(width),
    )?;
    if crate::has_fused(&x) {
        return Ok(ops::rotary(x, cos.cast(DType::F32), sin.cast(DType::F32)));
    }
    Ok(reference(x, cos, sin))
}

/// The same in plain tensor operations.
pub fn reference(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
    let ([tokens, width], [_, half]) = (x.dims(), cos.dims());
    let heads = width / (2 * half);
    let dtype = x.dtype();
    let x = x.reshape([tokens, heads, 2 * half]);
    let first = x.clone().narrow(2, 0, half);
    let second = x.narrow(2, half, half);
    let cos = cos.cast(dtype).reshape([tokens, 1, half]);
    let sin = sin.cast(dtype).reshape([tokens, 1, half]);
    let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let turned_second = second * cos + first * sin;
    Tensor::cat(vec![turned_first, turned_second], 2).reshape([tokens, width])
}
