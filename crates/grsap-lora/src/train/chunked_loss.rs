use burn::tensor::{DType, Tensor};

use super::layer_inputs::with_gradient;
use super::leaves::GradientSums;

/// A loss over hidden states that is computed and differentiated some rows at a time, so that the
/// logits of few rows are in memory together.
pub(super) struct ChunkedLoss {
    leaf: Tensor<2>,
    by_hidden: Option<Tensor<2>>,
}

impl ChunkedLoss {
    pub(super) fn over(hidden: &Tensor<2>) -> Self {
        Self {
            leaf: hidden.clone().inner().autodiff().require_grad(),
            by_hidden: None,
        }
    }

    /// What the losses of the chunks are to be computed from.
    pub(super) fn hidden(&self) -> Tensor<2> {
        self.leaf.clone()
    }

    /// Goes backwards through the loss of some rows. Gradients that do not go through the hidden
    /// states, as those of a trained head, are added to `sums`.
    pub(super) fn add(&mut self, loss: Tensor<1>, sums: &mut GradientSums<'_>) {
        let mut gradients = loss.backward();
        if let Some(part) = self.leaf.grad_remove(&mut gradients) {
            self.by_hidden = Some(match self.by_hidden.take() {
                Some(sum) => sum + part,
                None => part,
            });
        }
        sums.take(&mut gradients);
    }

    /// A term in `f32` for the whole loss, whose gradient by `hidden` is that of all chunks.
    pub(super) fn term(self, hidden: &Tensor<2>) -> Tensor<1> {
        let leaf = self.leaf;
        let by_hidden = self.by_hidden.unwrap_or_else(|| leaf.inner().zeros_like());
        with_gradient(hidden.clone(), &by_hidden).cast(DType::F32)
    }
}
