use burn::tensor::Tensor;
use grsap_kernels::sums_of_squares;

use super::error::TrainError;
use crate::adapter::read;

/// The norm of all gradients together; where it is above `max_norm`, they are scaled down to it.
///
/// # Errors
///
/// When the norm cannot be read back.
///
/// # Source
///
/// PyTorch's `clip_grad_norm_`: the coefficient is `max_norm / (norm + 1e-6)`, at most 1.
pub fn clip_grad_norm(
    gradients: &mut [Tensor<2>],
    max_norm: Option<f64>,
) -> Result<f64, TrainError> {
    let Some(squares) = sums_of_squares(gradients) else {
        return Ok(0.0);
    };
    let squares = read("gradient norm", squares)?;
    let norm = squares.into_iter().map(f64::from).sum::<f64>().sqrt();
    if let Some(max_norm) = max_norm {
        let coefficient = max_norm / (norm + 1e-6);
        if coefficient < 1.0 {
            for gradient in gradients {
                *gradient = gradient.clone() * coefficient;
            }
        }
    }
    Ok(norm)
}
