use burn::tensor::{DType, Tensor};

use crate::ops;

/// The sum of the squares of each tensor, `[tensors]`: what the norm of all gradients is made of.
/// Nothing of it is read back, so a GPU goes on. None if there is no tensor.
pub fn sums_of_squares(tensors: &[Tensor<2>]) -> Option<Tensor<1>> {
    let first = tensors.first()?;
    if tensors
        .iter()
        .all(|t| crate::is_gpu(t) && t.dtype() == DType::F32)
    {
        let sums = Tensor::zeros([tensors.len()], (&first.device(), DType::F32));
        let tensors = tensors.iter().enumerate();
        return Some(tensors.fold(sums, |sums, (place, tensor)| {
            ops::add_sum_of_squares(sums, tensor.clone(), place)
        }));
    }
    let sums = tensors.iter().map(|t| (t.clone() * t.clone()).sum());
    Some(Tensor::cat(sums.collect(), 0))
}
