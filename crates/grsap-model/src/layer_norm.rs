use burn::tensor::{Device, Tensor};

use crate::decoder::vector;
use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// (x - mean) / sqrt(variance + eps) * weight + bias, row by row.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(
        source: &dyn TensorSource,
        name: &str,
        len: usize,
        eps: f64,
        device: &Device,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            weight: vector(source, &format!("{name}.weight"), len, device)?,
            bias: vector(source, &format!("{name}.bias"), len, device)?,
            eps,
        })
    }

    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().powi_scalar(2).mean_dim(1);
        let normed = centred / (variance + self.eps).sqrt();
        normed * self.weight.clone().unsqueeze() + self.bias.clone().unsqueeze()
    }
}
