use burn::tensor::{DType, Device, Tensor, activation};
use grsap_kernels::{Dropout, KernelError, swiglu};

use super::projection::{Projection, ProjectionForm};
use crate::decoder_config::{Activation, DecoderConfig, TensorNames};
use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// The feed-forward part of a block.
#[derive(Debug, Clone)]
pub(super) struct Mlp {
    /// Gate and up, or one where there is no gate.
    inputs: Vec<Projection>,
    output: Projection,
    activation: Activation,
}

impl Mlp {
    pub(super) fn load(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        names: &TensorNames,
        form: ProjectionForm,
        name: &dyn Fn(&str) -> String,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let project = |part: &str, shape: [usize; 2]| {
            Projection::load(source, &name(part), shape, form, device)
        };
        let inputs = names.mlp_in.iter();
        Ok(Self {
            inputs: inputs
                .map(|part| project(part, [inner, hidden]))
                .collect::<Result<_, _>>()?,
            output: project(names.mlp_out, [hidden, inner])?,
            activation: config.hidden_act,
        })
    }

    pub(super) fn projections(&self) -> impl Iterator<Item = &Projection> {
        self.inputs.iter().chain([&self.output])
    }

    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.inputs.iter_mut().chain([&mut self.output])
    }

    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) -> Result<Tensor<2>, KernelError> {
        let mut inputs = self
            .inputs
            .iter()
            .enumerate()
            .map(|(place, input)| input.forward(x.clone(), dropout(place)));
        let first = inputs.next().unwrap_or_else(|| Ok(x.clone()))?;
        let inner = match (self.activation, inputs.next().transpose()?) {
            (Activation::Silu, Some(up)) => swiglu(first, up)?,
            (activation, Some(up)) => activate(activation, first) * up,
            (activation, None) => activate(activation, first),
        };
        self.output.forward(inner, dropout(self.inputs.len()))
    }
}

/// In `f32`: rounded to 16 bits after every operation, a GELU is off by a third near -3.
fn activate(function: Activation, x: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let x = match function {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
    };
    x.cast(dtype)
}

/// Burn's `gelu_approximate` raises to the power 3.0, which costs a logarithm for each element.
fn gelu_tanh(x: Tensor<2>) -> Tensor<2> {
    const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044_715) * SQRT_2_OVER_PI;
    x * (inner.tanh() + 1.0) * 0.5
}
