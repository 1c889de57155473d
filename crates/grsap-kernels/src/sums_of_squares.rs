use burn::tensor::Tensor;

use crate::ops;

/// The sum of the squares of each tensor, `[tensors]`: what the norm of all gradients is made of.
/// Nothing of it is read back, so a GPU goes on; there, one kernel serves many tensors. None if there
/// is no tensor.
pub fn sums_of_squares(tensors: &[Tensor<2>]) -> Option<Tensor<1>> {
    if tensors.is_empty() {
        return None;
    }
    if crate::are_together(tensors) {
        return Some(ops::sums_of_squares(tensors.to_vec()));
    }
    let sums = tensors.iter().map(|t| (t.clone() * t.clone()).sum());
    Some(Tensor::cat(sums.collect(), 0))
}
