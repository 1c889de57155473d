use burn::tensor::{Tensor, activation};

use crate::error::{KernelError, check, check_type};
use crate::ops;

/// `silu(gate) * up`.
///
/// # Shapes
///
/// All `[tokens, width]`.
///
/// # Errors
///
/// When the shapes or the types differ.
///
/// # Source
///
/// Shazeer 2020, as in `LlamaMLP`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Result<Tensor<2>, KernelError> {
    let ([rows, width], [up_rows, up_width]) = (gate.dims(), up.dims());
    check("swiglu", "rows of up", rows, up_rows)?;
    check("swiglu", "width of up", width, up_width)?;
    check_type("swiglu", "up", &gate, &up)?;
    if crate::has_fused(&gate) {
        return Ok(ops::swiglu(gate, up));
    }
    Ok(reference(gate, up))
}

/// The same in plain tensor operations.
pub fn reference(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    activation::silu(gate) * up
}
