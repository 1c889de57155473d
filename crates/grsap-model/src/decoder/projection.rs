use burn::tensor::{Device, Tensor, TensorData};
use grsap_kernels::{
    Dropout, FrozenWeight, KernelError, LoraWeights, WeightFormat, linear, lora_linear,
};

use crate::load_error::LoadError;
use crate::weights::{TensorSource, transposed};

/// The low-rank factors that an adapter adds to a projection.
#[derive(Debug, Clone)]
pub struct LoraFactors {
    /// `[r, in]`, PEFT's `lora_A.weight`.
    pub a: Tensor<2>,
    /// `[out, r]`, PEFT's `lora_B.weight`.
    pub b: Tensor<2>,
    /// What their product is multiplied by: `lora_alpha / r`.
    pub scale: f64,
}

/// A linear layer of a model: a frozen weight, maybe a bias, maybe an adapter.
#[derive(Debug, Clone)]
pub struct Projection {
    weight: FrozenWeight,
    bias: Option<Tensor<1>>,
    lora: Option<LoraFactors>,
}

/// How files hold a projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProjectionForm {
    pub(crate) bias: bool,
    /// The weight is stored `[in, out]`.
    pub(crate) transposed: bool,
    /// How the weight is to be held.
    pub(crate) format: WeightFormat,
}

impl Projection {
    /// A projection without an adapter.
    ///
    /// # Shapes
    ///
    /// `weight` is `[out, in]` as in PyTorch, `bias` is `[out]`.
    pub fn new(weight: FrozenWeight, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight,
            bias,
            lora: None,
        }
    }

    pub(crate) fn load(
        source: &dyn TensorSource,
        name: &str,
        [out, width]: [usize; 2],
        form: ProjectionForm,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let weight = format!("{name}.weight");
        let weight = frozen(source, &weight, [out, width], form, device)?;
        let bias = form
            .bias
            .then(|| vector(source, &format!("{name}.bias"), out, device))
            .transpose()?;
        Ok(Self::new(weight, bias))
    }

    /// The frozen weight, `[out, in]`.
    pub fn weight(&self) -> &FrozenWeight {
        &self.weight
    }

    /// The bias, `[out]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor<1>> {
        self.bias.as_ref()
    }

    pub(super) fn parts_mut(&mut self) -> (&mut FrozenWeight, Option<&mut Tensor<1>>) {
        (&mut self.weight, self.bias.as_mut())
    }

    /// Whether a gradient is asked for of its weight, its bias or its adapter.
    pub(super) fn is_tracked(&self) -> bool {
        let lora = self.lora.iter().flat_map(|lora| [&lora.a, &lora.b]);
        self.weight.is_tracked()
            || self.bias.as_ref().is_some_and(Tensor::is_tracked)
            || lora.into_iter().any(Tensor::is_tracked)
    }

    /// The number of inputs.
    pub fn in_features(&self) -> usize {
        self.weight.dims()[1]
    }

    /// The number of outputs.
    pub fn out_features(&self) -> usize {
        self.weight.dims()[0]
    }

    /// The adapter, if there is one.
    pub fn lora(&self) -> Option<&LoraFactors> {
        self.lora.as_ref()
    }

    /// Puts an adapter on, or takes it off.
    ///
    /// # Errors
    ///
    /// When its shapes do not fit; the projection is then as before.
    pub fn set_lora(&mut self, lora: Option<LoraFactors>) -> Result<(), KernelError> {
        if let Some(lora) = &lora {
            let ([r, a_in], [b_out, b_r]) = (lora.a.dims(), lora.b.dims());
            for (what, expected, got) in [
                ("width of lora_A", self.in_features(), a_in),
                ("rows of lora_B", self.out_features(), b_out),
                ("width of lora_B", r, b_r),
            ] {
                if expected != got {
                    return Err(KernelError::Shape {
                        op: "set_lora",
                        what,
                        expected,
                        got,
                    });
                }
            }
        }
        self.lora = lora;
        Ok(())
    }

    /// Adds the adapter's product to the weight and takes the adapter off.
    pub fn merge(&mut self) {
        if let Some(LoraFactors { a, b, scale }) = self.lora.take() {
            let a = FrozenWeight::dense(a.inner_if_tracked().transpose());
            // `set_lora` has checked the shapes.
            if let Ok(delta) = linear(b.inner_if_tracked(), &a) {
                let weight = self.weight.to_tensor() + delta * scale;
                self.weight = self.weight.replaced(weight);
            }
        }
    }

    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        dropout: Option<Dropout>,
    ) -> Result<Tensor<2>, KernelError> {
        let y = match &self.lora {
            None => linear(x, &self.weight)?,
            Some(lora) => {
                let lora = LoraWeights {
                    a: lora.a.clone(),
                    b: lora.b.clone(),
                    scale: lora.scale,
                };
                lora_linear(x, &self.weight, lora, dropout)?
            }
        };
        Ok(match &self.bias {
            Some(bias) => {
                let bias = bias.clone().cast(y.dtype());
                y + bias.unsqueeze()
            }
            None => y,
        })
    }
}

/// A tensor without its gradient tracking.
trait InnerIfTracked {
    fn inner_if_tracked(self) -> Self;
}

impl InnerIfTracked for Tensor<2> {
    fn inner_if_tracked(self) -> Self {
        if self.is_autodiff() {
            self.inner()
        } else {
            self
        }
    }
}

pub(crate) fn matrix(
    source: &dyn TensorSource,
    name: &str,
    shape: [usize; 2],
    device: &Device,
) -> Result<Tensor<2>, LoadError> {
    if !source.ask(name, &shape)? {
        return Ok(Tensor::<2>::zeros([1, 1], device).expand(shape));
    }
    let values = source.read_shaped(name, &shape)?;
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

/// A weight of `[out, in]`.
pub(crate) fn frozen(
    source: &dyn TensorSource,
    name: &str,
    [out, width]: [usize; 2],
    form: ProjectionForm,
    device: &Device,
) -> Result<FrozenWeight, LoadError> {
    let stored = match form.transposed {
        false => [out, width],
        true => [width, out],
    };
    if !source.ask(name, &stored)? {
        let nothing = Tensor::<2>::zeros([1, 1], device).expand([out, width]);
        return Ok(FrozenWeight::dense(nothing));
    }
    let mut values = source.read_shaped(name, &stored)?;
    if form.transposed {
        values = transposed(&values, out);
    }
    FrozenWeight::new(values, [out, width], form.format, device)
        .map_err(|e| LoadError::invalid(source.path(), name, e.to_string()))
}

pub(crate) fn vector(
    source: &dyn TensorSource,
    name: &str,
    len: usize,
    device: &Device,
) -> Result<Tensor<1>, LoadError> {
    if !source.ask(name, &[len])? {
        return Ok(Tensor::<1>::zeros([1], device).expand([len]));
    }
    let values = source.read_shaped(name, &[len])?;
    Ok(Tensor::from_data(TensorData::new(values, [len]), device))
}
