use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use grsap_model::{Decoder, LoraFactors, SafetensorsFile, TensorSource};
use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::error::AdapterError;
use super::factors::{AdapterFactors, LORA_A, LORA_B, check_attached, peft_name, read};
use super::lora_config::{LoraConfig, TargetModules, short_names};
use super::peft_config;

pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(crate) const ADAPTER_MODEL: &str = "adapter_model.safetensors";

/// How the numbers of an adapter are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterDtype {
    /// Exactly.
    #[default]
    F32,
    /// In half the space, to three digits.
    BF16,
}

/// Writes a decoder's adapters as PEFT's two files, `adapter_config.json` and
/// `adapter_model.safetensors`, each atomically, the weights first.
///
/// # Errors
///
/// [`AdapterError::Mismatch`] when the decoder's adapters are not those of `config`, or what the
/// file system says.
pub fn save_adapter(
    decoder: &Decoder,
    config: &LoraConfig,
    base_model: Option<&str>,
    dtype: AdapterDtype,
    dir: impl AsRef<Path>,
) -> Result<(), AdapterError> {
    let dir = dir.as_ref();
    check_attached(decoder, config)?;
    let weights = factor_bytes(&AdapterFactors::of(decoder), dtype)?;
    // Names, as PEFT writes: not every loader knows what all linear layers are.
    let mut named = config.clone();
    if named.target_modules == TargetModules::AllLinear {
        named.target_modules = TargetModules::Names(short_names(decoder.projections()));
    }
    let json = peft_config::to_json(&named, base_model, decoder.fan_in_fan_out());
    for (name, bytes) in [
        (ADAPTER_MODEL, weights),
        (ADAPTER_CONFIG, format!("{json:#}\n").into_bytes()),
    ] {
        let path = dir.join(name);
        grsap_core::write_atomic(&path, &bytes).map_err(AdapterError::io(&path))?;
    }
    Ok(())
}

/// The content of `adapter_model.safetensors`.
fn factor_bytes(factors: &AdapterFactors, dtype: AdapterDtype) -> Result<Vec<u8>, AdapterError> {
    let named = factors.iter().map(|(name, t)| (name.to_owned(), t.clone()));
    safetensors_bytes(named, dtype)
}

/// Tensors as a safetensors file.
fn safetensors_bytes(
    tensors: impl IntoIterator<Item = (String, Tensor<2>)>,
    dtype: AdapterDtype,
) -> Result<Vec<u8>, AdapterError> {
    let mut contents = BTreeMap::new();
    for (name, tensor) in tensors {
        let shape = tensor.dims().to_vec();
        let values = read(&name, tensor)?;
        let bytes: Vec<u8> = match dtype {
            AdapterDtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            AdapterDtype::BF16 => values
                .iter()
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
        };
        contents.insert(name, (shape, bytes));
    }
    let dtype = match dtype {
        AdapterDtype::F32 => Dtype::F32,
        AdapterDtype::BF16 => Dtype::BF16,
    };
    let failed = |e: safetensors::SafeTensorError| AdapterError::Serialize {
        reason: e.to_string(),
    };
    let views = contents
        .iter()
        .map(|(name, (shape, bytes))| {
            TensorView::new(dtype, shape.clone(), bytes).map(|view| (name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    // As PEFT writes it; loaders ask for it.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

/// Reads PEFT's two files and puts the adapters on, in place of any others.
///
/// # Errors
///
/// [`AdapterError`]: a field of the configuration that is missing or not supported, tensors that
/// are missing, unexpected or misshapen (all are named), a number that is not finite. The decoder
/// is then as before.
pub fn load_adapter(
    decoder: &mut Decoder,
    dir: impl AsRef<Path>,
) -> Result<LoraConfig, AdapterError> {
    let dir = dir.as_ref();
    let path = dir.join(ADAPTER_CONFIG);
    let bytes = std::fs::read(&path).map_err(AdapterError::io(&path))?;
    let json = serde_json::from_slice(&bytes).map_err(|e| AdapterError::File {
        path: path.clone(),
        field: "json".into(),
        reason: e.to_string(),
    })?;
    let config = peft_config::from_json(&path, &json, decoder.fan_in_fan_out())?;
    let file = SafetensorsFile::open(dir.join(ADAPTER_MODEL))?;
    let selected = config.select(decoder)?;
    check_tensors(decoder, &config, &selected, &file)?;

    let device = decoder.device();
    let matrix = |name: &str| -> Result<Tensor<2>, AdapterError> {
        let values = file.read_f32(name)?;
        let shape = file.shape(name).unwrap_or_default();
        Ok(Tensor::from_data(TensorData::new(values, shape), &device))
    };
    // All are read before the first is put on.
    let mut factors = HashMap::new();
    for name in selected {
        let a = matrix(&peft_name(&name, LORA_A))?;
        let b = matrix(&peft_name(&name, LORA_B))?;
        let scale = config.scale();
        factors.insert(name, LoraFactors { a, b, scale });
    }
    for (name, projection) in decoder.projections_mut() {
        projection.set_lora(factors.remove(&name))?;
    }
    Ok(config)
}

/// Compares the names and shapes in the file with those that the configuration asks for.
fn check_tensors(
    decoder: &Decoder,
    config: &LoraConfig,
    selected: &[String],
    file: &SafetensorsFile,
) -> Result<(), AdapterError> {
    let mut expected = BTreeMap::new();
    for (name, projection) in decoder.projections() {
        if selected.contains(&name) {
            let (width, out) = (projection.in_features(), projection.out_features());
            expected.insert(peft_name(&name, LORA_A), vec![config.r, width]);
            expected.insert(peft_name(&name, LORA_B), vec![out, config.r]);
        }
    }
    let unexpected: Vec<String> = file
        .names()
        .into_iter()
        .filter(|name| !expected.contains_key(name))
        .collect();
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    for (name, shape) in expected {
        match file.shape(&name) {
            None => missing.push(name),
            Some(got) if got != shape => misshapen.push((name, shape, got)),
            Some(_) => {}
        }
    }
    if missing.is_empty() && unexpected.is_empty() && misshapen.is_empty() {
        return Ok(());
    }
    Err(AdapterError::Tensors {
        path: file.path().to_owned(),
        missing,
        unexpected,
        misshapen,
    })
}
