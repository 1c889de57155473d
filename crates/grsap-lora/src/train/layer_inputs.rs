use burn::tensor::{Gradients, Tensor};
use grsap_model::{Blocks, Decoder, DecoderInput};

use super::error::TrainError;
use super::leaves::GradientSums;
use crate::adapter::AdapterError;

/// What stands between the layers of one forward pass: enough to compute each layer again when its
/// gradient is due.
///
/// # Source
///
/// Chen et al. 2016, "Training deep nets with sublinear memory cost", with one layer a segment.
pub(super) struct LayerInputs {
    inputs: Vec<Tensor<2>>,
    /// The output of the last layer, a leaf.
    last: Tensor<2>,
}

impl LayerInputs {
    /// Goes forward. The decoder's parameters are untracked, so that no graph is kept.
    pub(super) fn of(decoder: &Decoder, input: &DecoderInput) -> Result<Self, TrainError> {
        let blocks = decoder.blocks(input);
        let mut inputs = Vec::with_capacity(blocks.num_layers());
        let mut x = blocks.embed()?;
        for layer in 0..blocks.num_layers() {
            inputs.push(x.clone());
            x = blocks.forward(layer, x)?;
        }
        Ok(Self {
            inputs,
            last: x.autodiff().require_grad(),
        })
    }

    /// The output of the last layer. The loss must depend on it.
    pub(super) fn last(&self) -> Tensor<2> {
        self.last.clone()
    }

    /// Goes on backwards, from the gradients of the loss by what comes behind the last layer, and
    /// adds the gradients by all before. `blocks` are of the same decoder with tracked parameters.
    pub(super) fn backward(
        self,
        blocks: &Blocks<'_>,
        mut gradients: Gradients,
        sums: &mut GradientSums<'_>,
    ) -> Result<(), TrainError> {
        let Some(mut by_output) = self.last.grad_remove(&mut gradients) else {
            return Err(AdapterError::NoAdapter.into());
        };
        drop(gradients);
        let embedded = blocks.embed()?;
        let first = match embedded.is_tracked() {
            true => Some(0),
            false => (0..blocks.num_layers()).find(|&layer| blocks.is_tracked(layer)),
        };
        let Some(first) = first else {
            return Ok(());
        };
        for (layer, x) in self.inputs.into_iter().enumerate().skip(first).rev() {
            let x = x.autodiff().require_grad();
            let y = blocks.forward(layer, x.clone())?;
            let mut gradients = with_gradient(y, &by_output).backward();
            by_output = x
                .grad_remove(&mut gradients)
                .unwrap_or_else(|| by_output.zeros_like());
            sums.take(&mut gradients);
        }
        if embedded.is_tracked() {
            sums.take(&mut with_gradient(embedded, &by_output).backward());
        }
        Ok(())
    }
}

/// A sum whose gradient by `y` is `gradient`, so that its gradients are those of the loss.
pub(super) fn with_gradient(y: Tensor<2>, gradient: &Tensor<2>) -> Tensor<1> {
    (y * gradient.clone().autodiff()).sum()
}
