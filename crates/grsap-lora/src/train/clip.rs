use burn::tensor::Tensor;
use grsap_kernels::sums_of_squares;

use super::error::TrainError;
use crate::adapter::read;

/// The norm of all gradients together; 0 if there are none.
///
/// # Errors
///
/// When it cannot be read back.
pub fn grad_norm(gradients: &[Tensor<2>]) -> Result<f64, TrainError> {
    let Some(squares) = sums_of_squares(gradients) else {
        return Ok(0.0);
    };
    let squares = read("gradient norm", squares)?;
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// What gradients of this norm are multiplied by so that their norm is at most `max_norm`.
///
/// # Source
///
/// PyTorch's `clip_grad_norm_`: `max_norm / (norm + 1e-6)`, at most 1.
pub fn clip_coefficient(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0))
}
