use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::{SaveConfig, SaveError, WeightDtype};
use crate::decoder::NamedTensor;

/// Writes the weights as `model.safetensors`, or as shards with an index. One tensor at a time is
/// in memory beside the model.
///
/// # Source
///
/// The format of safetensors; names of shards and index as in transformers.
pub(super) fn write(
    dir: &Path,
    tensors: &[NamedTensor],
    config: &SaveConfig,
) -> Result<(), SaveError> {
    let bytes = |tensor: &NamedTensor| {
        let len: usize = tensor.shape().iter().product();
        len as u64 * config.dtype.size()
    };
    let mut shards: Vec<Vec<&NamedTensor>> = vec![Vec::new()];
    let mut in_last = 0;
    for tensor in tensors {
        if in_last > 0 && in_last + bytes(tensor) > config.max_shard_bytes {
            shards.push(Vec::new());
            in_last = 0;
        }
        in_last += bytes(tensor);
        if let Some(last) = shards.last_mut() {
            last.push(tensor);
        }
    }
    if let [one] = shards.as_slice() {
        return write_file(&dir.join("model.safetensors"), one, config.dtype);
    }
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        write_file(&dir.join(&name), shard, config.dtype)?;
        weight_map.extend(shard.iter().map(|tensor| (tensor.name(), name.clone())));
    }
    let total: u64 = tensors.iter().map(bytes).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    write_json(&dir.join("model.safetensors.index.json"), &index)
}

/// Writes JSON to a new file.
pub(super) fn write_json(path: &Path, json: &Value) -> Result<(), SaveError> {
    grsap_core::write_atomic(path, format!("{json:#}\n").as_bytes()).map_err(SaveError::io(path))
}

fn write_file(path: &Path, tensors: &[&NamedTensor], dtype: WeightDtype) -> Result<(), SaveError> {
    let mut header = Map::new();
    // As transformers writes it; loaders ask for it.
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0_u64;
    for tensor in tensors {
        let shape = tensor.shape();
        let start = end;
        end += shape.iter().product::<usize>() as u64 * dtype.size();
        header.insert(
            tensor.name().to_owned(),
            json!({"dtype": dtype.safetensors_name(), "shape": shape, "data_offsets": [start, end]}),
        );
    }
    let mut header = Value::Object(header).to_string();
    // Tensors begin at a multiple of eight bytes.
    let padding = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));

    let file = File::create_new(path).map_err(SaveError::io(path))?;
    let mut file = BufWriter::new(file);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(SaveError::io(path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for tensor in tensors {
        put(&encode(tensor, dtype)?)?;
    }
    let file = file.into_inner().map_err(|e| e.into_error());
    file.and_then(|file| file.sync_all())
        .map_err(SaveError::io(path))
}

fn encode(tensor: &NamedTensor, dtype: WeightDtype) -> Result<Vec<u8>, SaveError> {
    let values = tensor.read().map_err(|reason| SaveError::Device {
        tensor: tensor.name().to_owned(),
        reason,
    })?;
    let stored_is_finite = |x: &f32| match dtype {
        WeightDtype::F32 => x.is_finite(),
        WeightDtype::BF16 => bf16::from_f32(*x).is_finite(),
        WeightDtype::F16 => f16::from_f32(*x).is_finite(),
    };
    if let Some(value) = values.iter().find(|x| !stored_is_finite(x)) {
        return Err(SaveError::Range {
            tensor: tensor.name().to_owned(),
            value: *value,
            dtype: dtype.safetensors_name(),
        });
    }
    let values = values.into_iter();
    Ok(match dtype {
        WeightDtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
        WeightDtype::BF16 => values
            .flat_map(|x| bf16::from_f32(x).to_le_bytes())
            .collect(),
        WeightDtype::F16 => values
            .flat_map(|x| f16::from_f32(x).to_le_bytes())
            .collect(),
    })
}
