use burn::tensor::Tensor;
use grsap_kernels::FrozenWeight;

use super::model::Decoder;
use super::projection::Projection;
use crate::decoder_config::NormKind;
use crate::norm::Norm;

/// A weight as Hugging Face's files have it.
#[derive(Debug, Clone)]
pub(crate) struct NamedTensor {
    name: String,
    tensor: Stored,
}

#[derive(Debug, Clone)]
enum Stored {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
    /// `[out, in]`, and whether the files have it the other way round.
    Frozen(FrozenWeight, bool),
}

impl NamedTensor {
    fn vector(name: String, tensor: &Tensor<1>) -> Self {
        let tensor = Stored::Vector(tensor.clone());
        Self { name, tensor }
    }

    fn frozen(name: String, weight: &FrozenWeight, transposed: bool) -> Self {
        let tensor = Stored::Frozen(weight.clone(), transposed);
        Self { name, tensor }
    }

    fn matrix(name: String, tensor: &Tensor<2>) -> Self {
        let tensor = Stored::Matrix(tensor.clone());
        Self { name, tensor }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        match &self.tensor {
            Stored::Vector(tensor) => tensor.dims().to_vec(),
            Stored::Matrix(tensor) => tensor.dims().to_vec(),
            Stored::Frozen(weight, transposed) => {
                let [out, width] = weight.dims();
                if *transposed {
                    vec![width, out]
                } else {
                    vec![out, width]
                }
            }
        }
    }

    /// The values by rows, or what the device says.
    pub(crate) fn read(&self) -> Result<Vec<f32>, String> {
        let matrix = |tensor: Tensor<2>| {
            let values = tensor.try_into_vec_as::<f32>();
            values.map_err(|e| e.to_string())
        };
        match &self.tensor {
            Stored::Vector(tensor) => {
                let values = tensor.clone().try_into_vec_as::<f32>();
                values.map_err(|e| e.to_string())
            }
            Stored::Matrix(tensor) => matrix(tensor.clone()),
            Stored::Frozen(weight, false) => matrix(weight.to_tensor()),
            Stored::Frozen(weight, true) => matrix(weight.to_tensor().transpose()),
        }
    }
}

impl Decoder {
    /// All weights, under the names and in the forms of the family's files.
    pub(crate) fn named_tensors(&self) -> Vec<NamedTensor> {
        let (family, names) = (self.family(), &self.family().tensors);
        let mut all = Vec::new();
        let base = |part: &str| format!("{}{part}", names.base);
        let weight = |part: &str| base(&format!("{part}.weight"));
        let embedding = weight(names.embedding);
        let tied = self.embedding().is_none();
        all.push(match self.embedding() {
            Some(table) => NamedTensor::matrix(embedding, table),
            None => NamedTensor::frozen(embedding, self.head_weight(), false),
        });
        if let (Some(part), Some(positions)) = (names.positions, self.positions()) {
            all.push(NamedTensor::matrix(weight(part), positions));
        }
        for (index, layer) in self.layers().iter().enumerate() {
            let prefix = base(&format!("{}.{index}.", names.layers));
            for (part, norm) in layer.norms(names) {
                push_norm(&mut all, &format!("{prefix}{part}"), norm, family.norm);
            }
        }
        for (name, projection) in self.projections() {
            push_projection(&mut all, &name, projection, family.fan_in_fan_out);
        }
        push_norm(&mut all, &base(names.final_norm), self.norm(), family.norm);
        if !tied {
            let head = super::model::HEAD.to_owned();
            all.push(NamedTensor::frozen(head, self.head_weight(), false));
        }
        all
    }
}

fn push_norm(all: &mut Vec<NamedTensor>, name: &str, norm: &Norm, kind: NormKind) {
    let weight = match kind {
        NormKind::RmsLessOne => &(norm.weight().clone() - 1.0),
        NormKind::Rms | NormKind::Layer => norm.weight(),
    };
    all.push(NamedTensor::vector(format!("{name}.weight"), weight));
    let bias = norm.bias().into_iter();
    all.extend(bias.map(|bias| NamedTensor::vector(format!("{name}.bias"), bias)));
}

fn push_projection(
    all: &mut Vec<NamedTensor>,
    name: &str,
    projection: &Projection,
    transposed: bool,
) {
    let weight = projection.weight();
    all.push(NamedTensor::frozen(
        format!("{name}.weight"),
        weight,
        transposed,
    ));
    let bias = projection.bias().into_iter();
    all.extend(bias.map(|bias| NamedTensor::vector(format!("{name}.bias"), bias)));
}
