use burn::tensor::{DType, Tensor};
use grsap_model::{Decoder, LoraFactors};

use super::error::AdapterError;
use super::lora_config::LoraConfig;

/// All factors of a decoder's adapters, A and B of each adapted projection in turn, under the
/// names of PEFT's files. They carry no gradient tracking.
#[derive(Debug, Clone)]
pub struct AdapterFactors {
    entries: Vec<(String, Tensor<2>)>,
}

pub(crate) const LORA_A: &str = "lora_A.weight";
pub(crate) const LORA_B: &str = "lora_B.weight";

/// The name of a factor in PEFT's files.
pub(crate) fn peft_name(projection: &str, factor: &str) -> String {
    format!("base_model.model.{projection}.{factor}")
}

impl AdapterFactors {
    /// Reads them from a decoder.
    pub fn of(decoder: &Decoder) -> Self {
        Self {
            entries: tensors(decoder)
                .map(|(name, tensor)| (name, tensor.clone().inner()))
                .collect(),
        }
    }

    /// Names and tensors.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor<2>)> {
        self.entries
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (String, Tensor<2>)> {
        self.entries.into_iter()
    }

    #[cfg(test)]
    pub(crate) fn into_tensors(self) -> Vec<Tensor<2>> {
        self.into_entries().map(|(_, tensor)| tensor).collect()
    }

    /// How many numbers are trained.
    pub fn num_parameters(&self) -> usize {
        self.iter()
            .map(|(_, t)| t.dims().iter().product::<usize>())
            .sum()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The values of a tensor.
pub(crate) fn read<const D: usize>(
    name: &str,
    tensor: Tensor<D>,
) -> Result<Vec<f32>, AdapterError> {
    let device = |e: &dyn std::fmt::Display| AdapterError::Device {
        tensor: name.to_owned(),
        reason: e.to_string(),
    };
    tensor
        .inner()
        .try_into_vec_as::<f32>()
        .map_err(|e| device(&e))
}

/// The factors as they are in the decoder, tracked or not.
pub(crate) fn tensors(decoder: &Decoder) -> impl Iterator<Item = (String, &Tensor<2>)> {
    decoder.projections().flat_map(|(name, projection)| {
        projection.lora().into_iter().flat_map(move |lora| {
            [
                (peft_name(&name, LORA_A), &lora.a),
                (peft_name(&name, LORA_B), &lora.b),
            ]
        })
    })
}

/// Replaces the factors by others of the same order and shapes.
pub(crate) fn replace(
    decoder: &mut Decoder,
    values: impl IntoIterator<Item = Tensor<2>>,
) -> Result<(), AdapterError> {
    let mut values = values.into_iter();
    for (_, projection) in decoder.projections_mut() {
        let Some(scale) = projection.lora().map(|lora| lora.scale) else {
            continue;
        };
        let (Some(a), Some(b)) = (values.next(), values.next()) else {
            return Err(AdapterError::NoAdapter);
        };
        projection.set_lora(Some(LoraFactors { a, b, scale }))?;
    }
    Ok(())
}

/// Checks that the decoder's adapters are those that the configuration describes.
pub(crate) fn check_attached(decoder: &Decoder, config: &LoraConfig) -> Result<(), AdapterError> {
    let selected = config.select(decoder)?;
    if decoder.projections().all(|(_, p)| p.lora().is_none()) {
        return Err(AdapterError::NoAdapter);
    }
    for (name, projection) in decoder.projections() {
        let reason = match (selected.contains(&name), projection.lora()) {
            (false, None) => continue,
            (true, None) => "it has none".to_owned(),
            (false, Some(_)) => "it should have none".to_owned(),
            (true, Some(lora)) => {
                let r = lora.a.dims()[0];
                let other = [&lora.a, &lora.b].map(Tensor::dtype);
                let other = other.into_iter().find(|dtype| *dtype != DType::F32);
                if let Some(dtype) = other {
                    // The optimiser's state and its operations are in f32.
                    format!("its factors are {dtype:?}, expected F32")
                } else if r != config.r {
                    format!("r is {r}, expected {}", config.r)
                } else if (lora.scale - config.scale()).abs() > 1e-9 * config.scale() {
                    format!("its scale is {}, expected {}", lora.scale, config.scale())
                } else {
                    continue;
                }
            }
        };
        return Err(AdapterError::Mismatch {
            projection: name,
            reason,
        });
    }
    Ok(())
}
