use burn::tensor::Tensor;
use grsap_model::{Blocks, Decoder, DecoderInput};

use super::error::TrainError;
use super::gradients::take_gradient;
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
    /// Goes forward. The decoder's factors are untracked, so that no graph is kept.
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

    /// The gradient of the loss by every factor of the same decoder, with its factors tracked.
    pub(super) fn backward(
        self,
        blocks: &Blocks<'_>,
        loss: Tensor<1>,
    ) -> Result<Vec<Tensor<2>>, TrainError> {
        let Some(mut by_output) = self.last.grad(&loss.backward()) else {
            return Err(AdapterError::NoAdapter.into());
        };
        let factors = |layer| {
            let loras = blocks.projections(layer).filter_map(|p| p.lora());
            loras.flat_map(|lora| [&lora.a, &lora.b])
        };
        let adapted = |layer: &usize| factors(*layer).next().is_some();
        let Some(first) = (0..blocks.num_layers()).find(adapted) else {
            return Err(AdapterError::NoAdapter.into());
        };
        let mut by_layer = Vec::new();
        for (layer, x) in self.inputs.into_iter().enumerate().skip(first).rev() {
            let x = x.autodiff().require_grad();
            let y = blocks.forward(layer, x.clone())?;
            // The gradient of this sum by y is `by_output`, so its gradients are those of the loss.
            let mut gradients = (y * by_output.clone().autodiff()).sum().backward();
            by_output = x
                .grad_remove(&mut gradients)
                .unwrap_or_else(|| by_output.zeros_like());
            let of_layer = factors(layer).map(|factor| take_gradient(factor, &mut gradients));
            by_layer.push(of_layer.collect::<Vec<_>>());
        }
        Ok(by_layer.into_iter().rev().flatten().collect())
    }
}
