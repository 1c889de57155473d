use burn::tensor::{Device, Tensor};
use grsap_kernels::{KernelError, rms_norm};

use super::projection::vector;
use crate::decoder_config::NormKind;
use crate::layer_norm::LayerNorm;
use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// A normalisation of rows, or of equal parts of rows.
#[derive(Debug, Clone)]
pub(super) enum Norm {
    Rms { weight: Tensor<1>, eps: f64 },
    Layer(LayerNorm),
}

impl Norm {
    pub(super) fn load(
        source: &dyn TensorSource,
        name: &str,
        (kind, eps): (NormKind, f64),
        len: usize,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let weight = || vector(source, &format!("{name}.weight"), len, device);
        Ok(match kind {
            NormKind::Rms => Self::Rms {
                weight: weight()?,
                eps,
            },
            NormKind::RmsLessOne => Self::Rms {
                weight: weight()? + 1.0,
                eps,
            },
            NormKind::Layer => Self::Layer(LayerNorm::load(source, name, len, eps, device)?),
        })
    }

    pub(super) fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        match self {
            Self::Rms { weight, eps } => rms_norm(x, weight.clone(), *eps),
            Self::Layer(norm) => Ok(norm.forward(x)),
        }
    }

    /// Normalises every so many columns by themselves as the weight is long.
    pub(super) fn forward_parts(&self, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        let [tokens, width] = x.dims();
        let len = match self {
            Self::Rms { weight, .. } => weight.dims()[0],
            Self::Layer(_) => width,
        };
        if width == len || !width.is_multiple_of(len.max(1)) {
            return self.forward(x);
        }
        let parts = x.reshape([tokens * width / len, len]);
        Ok(self.forward(parts)?.reshape([tokens, width]))
    }
}
