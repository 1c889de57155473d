use burn::tensor::{DType, Device, Tensor};
use grsap_kernels::{KernelError, rms_norm};

use crate::decoder::{Place, vector};
use crate::decoder_config::NormKind;
use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// A normalisation of rows, or of equal parts of rows.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    weight: Tensor<1>,
    /// With a bias it is a layer norm, without one it goes by the root mean square.
    bias: Option<Tensor<1>>,
    eps: f64,
}

impl Norm {
    pub(crate) fn load(
        source: &dyn TensorSource,
        name: &str,
        (kind, eps): (NormKind, f64),
        len: usize,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let weight = vector(source, &format!("{name}.weight"), len, device)?;
        Ok(Self {
            weight: match kind {
                NormKind::RmsLessOne => weight + 1.0,
                NormKind::Rms | NormKind::Layer => weight,
            },
            bias: match kind {
                NormKind::Layer => Some(vector(source, &format!("{name}.bias"), len, device)?),
                NormKind::Rms | NormKind::RmsLessOne => None,
            },
            eps,
        })
    }

    pub(crate) fn weight(&self) -> &Tensor<1> {
        &self.weight
    }

    pub(crate) fn bias(&self) -> Option<&Tensor<1>> {
        self.bias.as_ref()
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.weight.is_tracked() || self.bias.as_ref().is_some_and(Tensor::is_tracked)
    }

    /// Calls `f` with the names and places of its weights.
    pub(crate) fn visit(&mut self, name: &str, f: &mut impl FnMut(String, Place<'_>)) {
        f(format!("{name}.weight"), Place::Vector(&mut self.weight));
        if let Some(bias) = &mut self.bias {
            f(format!("{name}.bias"), Place::Vector(bias));
        }
    }

    pub(crate) fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        let Some(bias) = &self.bias else {
            return rms_norm(x, self.weight.clone(), self.eps);
        };
        let dtype = x.dtype();
        let x = x.cast(DType::F32);
        let centred = x.clone() - x.mean_dim(1);
        let variance = centred.clone().powi_scalar(2).mean_dim(1);
        let normed = centred / (variance + self.eps).sqrt();
        let y = normed * self.weight.clone().unsqueeze() + bias.clone().unsqueeze();
        Ok(y.cast(dtype))
    }

    /// Normalises every so many columns by themselves as the weight is long.
    pub(crate) fn forward_parts(&self, x: Tensor<2>) -> Result<Tensor<2>, KernelError> {
        let [tokens, width] = x.dims();
        let len = self.weight.dims()[0];
        if width == len || !width.is_multiple_of(len.max(1)) {
            return self.forward(x);
        }
        let parts = x.reshape([tokens * width / len, len]);
        Ok(self.forward(parts)?.reshape([tokens, width]))
    }
}
