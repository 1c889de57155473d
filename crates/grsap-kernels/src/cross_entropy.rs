use burn::tensor::{Int, Tensor, TensorData, activation};

use crate::error::{KernelError, check};
use crate::ops;
use crate::weight::FrozenWeight;

/// The negative log-likelihood of one target token for each row, from the last hidden state and
/// the head's weight, without ever holding `[tokens, vocab]` logits.
///
/// Pass only the rows that have a target: a masked row then costs nothing.
///
/// # Shapes
///
/// `hidden` is `[n, width]`, `weight` is `[vocab, width]`, `targets` has n ids below vocab; the result
/// is `[n]`, in `f32`. With `softcap` c, a logit x becomes `c * tanh(x / c)`. A weight that is trained
/// needs the logits of all rows for its gradient: give it some rows at a time.
///
/// # Errors
///
/// When the shapes differ, a target is out of range, or the soft-cap is not above zero.
///
/// # Source
///
/// `cross_entropy(reduction="none")` in PyTorch; the gradient is formed with the loss, as in
/// Liger-Kernel's fused linear cross-entropy.
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    weight: &FrozenWeight,
    targets: &[u32],
    softcap: Option<f32>,
) -> Result<Tensor<1>, KernelError> {
    let op = "linear_cross_entropy";
    let ([n, width], [vocab, weight_width]) = (hidden.dims(), weight.dims());
    check(op, "number of targets", n, targets.len())?;
    check(op, "width of weight", width, weight_width)?;
    if let Some(&target) = targets.iter().find(|&&target| target as usize >= vocab) {
        return Err(KernelError::Index {
            op,
            what: "target",
            index: target as usize,
            len: vocab,
        });
    }
    if softcap.is_some_and(|cap| cap.is_nan() || cap <= 0.0) {
        let what = "softcap";
        return Err(KernelError::NotPositive { op, what });
    }
    if let Some(packed) = weight.packed_for(&hidden) {
        let targets = targets.to_vec();
        return Ok(ops::linear_cross_entropy(hidden, packed, targets, softcap));
    }
    if let Some(dense) = weight.dense_for(&hidden) {
        let targets = targets.to_vec();
        return Ok(ops::dense_linear_cross_entropy(
            hidden, dense, targets, softcap,
        ));
    }
    Ok(match weight.trained_for(&hidden) {
        Some(weight) => {
            let logits = ops::trained_linear(hidden, weight);
            ops::nll(logits, targets.to_vec(), softcap)
        }
        None => reference(hidden, weight.dense_or_unpacked(), targets, softcap),
    })
}

/// The same in plain tensor operations.
pub fn reference(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: &[u32],
    softcap: Option<f32>,
) -> Tensor<1> {
    let device = hidden.device();
    let n = targets.len();
    let logits = crate::at_least_f32(hidden.matmul(weight.transpose()));
    let logits = match softcap {
        Some(cap) => (logits / cap).tanh() * cap,
        None => logits,
    };
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [n, 1]), &device);
    -activation::log_softmax(logits, 1)
        .gather(1, ids)
        .reshape([n])
}
