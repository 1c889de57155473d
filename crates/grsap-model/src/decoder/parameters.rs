use burn::tensor::{DType, Device, Tensor};
use grsap_kernels::{FrozenWeight, KernelError, WeightFormat};

use super::layer::projection_names;
use super::model::{Decoder, HEAD, full_name, head_format};
use super::projection::LoraFactors;

/// A weight of a decoder on its own: a vector (norms, biases) or a matrix (all others).
#[derive(Debug, Clone)]
pub enum Parameter {
    /// `[len]`.
    Vector(Tensor<1>),
    /// `[out, in]` for linear layers, `[rows, hidden]` for tables.
    Matrix(Tensor<2>),
}

/// Where a decoder keeps a weight.
pub(crate) enum Place<'a> {
    Vector(&'a mut Tensor<1>),
    Matrix(&'a mut Tensor<2>),
    Linear(&'a mut FrozenWeight),
}

impl Parameter {
    /// Where the values are.
    pub fn device(&self) -> Device {
        match self {
            Self::Vector(tensor) => tensor.device(),
            Self::Matrix(tensor) => tensor.device(),
        }
    }

    /// A copy on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        match self {
            Self::Vector(tensor) => Self::Vector(tensor.to_device(device)),
            Self::Matrix(tensor) => Self::Matrix(tensor.to_device(device)),
        }
    }

    /// As a matrix; a vector is one row.
    pub fn to_matrix(&self) -> Tensor<2> {
        match self {
            Self::Vector(tensor) => tensor.clone().unsqueeze(),
            Self::Matrix(tensor) => tensor.clone(),
        }
    }

    /// The same kind of weight with other values, which [`to_matrix`](Self::to_matrix) gives back.
    ///
    /// # Errors
    ///
    /// When the shapes differ.
    pub fn with_values(&self, values: Tensor<2>) -> Result<Self, KernelError> {
        let shape = match self {
            Self::Vector(tensor) => [1, tensor.dims()[0]],
            Self::Matrix(tensor) => tensor.dims(),
        };
        for (what, expected, got) in [
            ("rows of a parameter", shape[0], values.dims()[0]),
            ("width of a parameter", shape[1], values.dims()[1]),
        ] {
            if expected != got {
                return Err(KernelError::Shape {
                    op: "with_values",
                    what,
                    expected,
                    got,
                });
            }
        }
        Ok(match self {
            Self::Vector(_) => Self::Vector(values.squeeze_dim(0)),
            Self::Matrix(_) => Self::Matrix(values),
        })
    }
}

impl Decoder {
    /// Holds every weight as a tensor of its own in `f32`, which can be trained: the contrary of
    /// [`freeze`](Self::freeze).
    ///
    /// Products then read their weights as they lie, so generating is slower until the decoder is
    /// frozen again. Weights that were rounded to another format stay rounded.
    pub fn unfreeze(&mut self) {
        self.visit(|_, place| match place {
            Place::Linear(weight) => *weight = FrozenWeight::dense(weight.to_tensor()),
            Place::Matrix(tensor) => *tensor = tensor.clone().cast(DType::F32),
            Place::Vector(_) => {}
        });
    }

    /// Packs the linear layers and the head as [`load_as`](Self::load_as) does.
    ///
    /// # Errors
    ///
    /// When the device does not have the format, or the values cannot be read back from it. Weights
    /// that were not reached stay as they are.
    pub fn freeze(&mut self, format: WeightFormat) -> Result<(), KernelError> {
        let mut result = Ok(());
        // The head comes first.
        let mut head = Some(head_format(format, &self.device()));
        self.visit(|_, place| {
            let Place::Linear(weight) = place else {
                return;
            };
            let format = head.take().unwrap_or(format);
            let (shape, device) = (weight.dims(), weight.device());
            if result.is_ok() {
                let values = weight.to_tensor().inner().try_into_vec_as::<f32>();
                let packed = values
                    .map_err(|e| KernelError::Device {
                        reason: e.to_string(),
                    })
                    .and_then(|values| FrozenWeight::new(values, shape, format, &device));
                match packed {
                    Ok(packed) => *weight = packed,
                    Err(error) => result = Err(error),
                }
            }
        });
        result
    }

    /// A copy on another device, with its adapters.
    ///
    /// # Errors
    ///
    /// When the device does not have the format of the weights.
    pub fn to_device(&self, device: &Device) -> Result<Self, KernelError> {
        let mut moved = self.clone();
        let mut result = Ok(());
        moved.visit(|_, place| match place {
            Place::Vector(tensor) => *tensor = tensor.clone().to_device(device),
            Place::Matrix(tensor) => *tensor = tensor.clone().to_device(device),
            Place::Linear(weight) => match weight.to_device(device) {
                Ok(there) => *weight = there,
                Err(error) => result = Err(error),
            },
        });
        result?;
        for (_, projection) in moved.projections_mut() {
            if let Some(lora) = projection.lora().cloned() {
                projection.set_lora(Some(LoraFactors {
                    a: lora.a.to_device(device),
                    b: lora.b.to_device(device),
                    scale: lora.scale,
                }))?;
            }
        }
        Ok(moved)
    }

    /// All weights, under the names of the family's files (`model.norm.weight`), always in the
    /// same order. A head that is tied to the embedding is there once, as the embedding. Adapters
    /// are not among them.
    ///
    /// Norms that files store less one are here as they are multiplied.
    pub fn parameters(&self) -> Vec<(String, Parameter)> {
        let mut all = Vec::new();
        // Copies share their memory.
        self.clone().visit(|name, place| {
            let parameter = match place {
                Place::Vector(tensor) => Parameter::Vector(tensor.clone()),
                Place::Matrix(tensor) => Parameter::Matrix(tensor.clone()),
                Place::Linear(weight) => Parameter::Matrix(weight.to_tensor()),
            };
            all.push((name, parameter));
        });
        all
    }

    /// Replaces all weights by others, in the order of [`parameters`](Self::parameters). They are
    /// tensors afterwards, as [`unfreeze`](Self::unfreeze) makes them.
    ///
    /// # Errors
    ///
    /// When there are not as many, or one has another shape; the decoder is then as before.
    pub fn set_parameters(
        &mut self,
        values: impl IntoIterator<Item = Parameter>,
    ) -> Result<(), KernelError> {
        let shape_error = |what, expected, got| KernelError::Shape {
            op: "set_parameters",
            what,
            expected,
            got,
        };
        let (mut values, mut replaced) = (values.into_iter(), self.clone());
        let (mut count, mut failed) = (0, None);
        replaced.visit(|_, place| {
            count += 1;
            let mut fit = |expected: &[usize], got: &[usize]| {
                let pairs = expected.iter().zip(got);
                let wrong = pairs.clone().find(|(expected, got)| expected != got);
                if let Some((expected, got)) = wrong {
                    failed = Some(shape_error("length of a parameter", *expected, *got));
                }
                wrong.is_none()
            };
            match (place, values.next()) {
                (Place::Vector(old), Some(Parameter::Vector(new)))
                    if fit(&old.dims(), &new.dims()) =>
                {
                    *old = new;
                }
                (Place::Matrix(old), Some(Parameter::Matrix(new)))
                    if fit(&old.dims(), &new.dims()) =>
                {
                    *old = new;
                }
                (Place::Linear(old), Some(Parameter::Matrix(new)))
                    if fit(&old.dims(), &new.dims()) =>
                {
                    *old = FrozenWeight::dense(new);
                }
                (_, found) => {
                    let got = count - usize::from(found.is_none());
                    failed.get_or_insert(shape_error("parameters of this kind", count, got));
                }
            }
        });
        let more = values.count();
        if more > 0 {
            failed.get_or_insert(shape_error("parameters", count, count + more));
        }
        match failed {
            Some(error) => Err(error),
            None => {
                *self = replaced;
                Ok(())
            }
        }
    }

    /// Calls `f` with the name and the place of every weight.
    fn visit(&mut self, mut f: impl FnMut(String, Place<'_>)) {
        let names = &self.family().tensors;
        let base = |part: &str| format!("{}{part}", names.base);
        let parts = self.parts_mut();
        let embedding = base(&format!("{}.weight", names.embedding));
        let head = match parts.embedding {
            Some(table) => {
                f(embedding, Place::Matrix(table));
                HEAD.to_owned()
            }
            None => embedding,
        };
        f(head, Place::Linear(parts.lm_head));
        if let (Some(part), Some(table)) = (names.positions, parts.positions) {
            f(base(&format!("{part}.weight")), Place::Matrix(table));
        }
        for (index, layer) in parts.layers.iter_mut().enumerate() {
            for (part, norm) in layer.norms_mut(names) {
                norm.visit(&full_name(names, index, part), &mut f);
            }
            for (part, projection) in projection_names(names).zip(layer.projections_mut()) {
                let name = full_name(names, index, part);
                let (weight, bias) = projection.parts_mut();
                f(format!("{name}.weight"), Place::Linear(weight));
                if let Some(bias) = bias {
                    f(format!("{name}.bias"), Place::Vector(bias));
                }
            }
        }
        parts.norm.visit(&base(names.final_norm), &mut f);
    }
}
