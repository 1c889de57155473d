use burn::tensor::Tensor;
use grsap_kernels::KernelError;

use super::layer::{Layer, Pass};
use super::model::{Decoder, DecoderInput};

/// A forward pass of a [`Decoder`] in steps, for those who decide what is kept between its layers.
///
/// Going through all of them gives what [`Decoder::hidden_states`] gives.
///
/// # Shapes
///
/// All tensors are `[tokens, hidden]`.
pub struct Blocks<'a> {
    decoder: &'a Decoder,
    input: &'a DecoderInput,
    pass: Pass<'a>,
}

impl Decoder {
    /// A pass over `input` without a cache, step by step.
    pub fn blocks<'a>(&'a self, input: &'a DecoderInput) -> Blocks<'a> {
        Blocks {
            decoder: self,
            input,
            pass: self.pass(input),
        }
    }
}

impl<'a> Blocks<'a> {
    /// The number of layers.
    pub fn num_layers(&self) -> usize {
        self.decoder.layers().len()
    }

    /// Whether a gradient is asked for of any weight or adapter of one layer.
    pub fn is_tracked(&self, layer: usize) -> bool {
        let layers = self.decoder.layers();
        layers.get(layer).is_some_and(Layer::is_tracked)
    }

    /// The input of the first layer.
    ///
    /// # Errors
    ///
    /// As [`Decoder::hidden_states`].
    pub fn embed(&self) -> Result<Tensor<2>, KernelError> {
        self.decoder.embed(self.input)
    }

    /// The output of a layer.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when there is no such layer, or `x` has not a row for each token.
    pub fn forward(&self, layer: usize, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        let layers = self.decoder.layers();
        let Some(found) = layers.get(layer) else {
            return Err(KernelError::Index {
                op: "decoder",
                what: "layer",
                index: layer,
                len: layers.len(),
            });
        };
        found.forward(layer, x, &self.pass, None)
    }

    /// The output of the last layer, normalised.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the width of `x` is another.
    pub fn norm(&self, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        self.decoder.norm().forward(x)
    }
}
