use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use crate::load_error::{LoadError, read_json};
use crate::mapped_file::MappedFile;
use crate::weights::{TensorSource, check_finite, missing_tensor};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors in one safetensors file, or in the shards that an index names.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: MappedFile,
}

#[derive(Debug)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes in the shard.
    range: std::ops::Range<usize>,
}

impl SafetensorsFile {
    /// Opens a safetensors file, an index of shards, or a directory that has one of these under
    /// the usual name (`model.safetensors`, `model.safetensors.index.json`).
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and what is wrong with it: a header that does not fit the
    /// file, a shard that is missing, a tensor that the index promises and the shard lacks.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let path = if !path.is_dir() {
            path.to_owned()
        } else if path.join(SINGLE).is_file() {
            path.join(SINGLE)
        } else if path.join(INDEX).is_file() {
            path.join(INDEX)
        } else {
            return Err(LoadError::MissingFile {
                path: path.to_owned(),
                what: format!("{SINGLE} or {INDEX}"),
            });
        };
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            Self::open_index(path)
        } else {
            let mut file = Self::empty(path.clone());
            file.add_shard(path)?;
            Ok(file)
        }
    }

    fn empty(path: PathBuf) -> Self {
        Self {
            path,
            shards: Vec::new(),
            tensors: BTreeMap::new(),
        }
    }

    fn open_index(path: PathBuf) -> Result<Self, LoadError> {
        let json = read_json(&path)?;
        let Some(map) = json.get("weight_map").and_then(|map| map.as_object()) else {
            return Err(LoadError::invalid(
                &path,
                "weight_map",
                "expected an object",
            ));
        };
        let mut shard_names = BTreeMap::new();
        for (tensor, shard) in map {
            let field = || format!("weight_map.{tensor}");
            let Some(shard) = shard.as_str() else {
                return Err(LoadError::invalid(&path, field(), "expected a file name"));
            };
            // A shard lies beside its index; anything else is not a file name.
            if Path::new(shard).file_name() != Some(shard.as_ref()) {
                let reason = format!("`{shard}` is not a file name");
                return Err(LoadError::invalid(&path, field(), reason));
            }
            shard_names
                .entry(shard)
                .or_insert_with(Vec::new)
                .push(tensor);
        }
        let mut file = Self::empty(path.clone());
        for (shard, promised) in shard_names {
            let shard = path.with_file_name(shard);
            let number = file.shards.len();
            file.add_shard(shard.clone())?;
            for tensor in promised {
                if file.tensors.get(tensor).map(|entry| entry.shard) != Some(number) {
                    return Err(missing_tensor(&shard, tensor));
                }
            }
        }
        Ok(file)
    }

    fn add_shard(&mut self, path: PathBuf) -> Result<(), LoadError> {
        let bytes = MappedFile::open(&path)?;
        let invalid = |reason: &dyn std::fmt::Display| LoadError::invalid(&path, "header", reason);
        // Checks every offset against the length of the file.
        let header = SafeTensors::deserialize(bytes.bytes()).map_err(|e| {
            let len = bytes.bytes().len() as u64;
            match promised_len(bytes.bytes()) {
                Some(promised) if len < promised => {
                    invalid(&format!("the file ends after {len} of {promised} bytes"))
                }
                _ => invalid(&e),
            }
        })?;
        let base = bytes.bytes().as_ptr() as usize;
        for (name, view) in header.iter() {
            // The view borrows from the map, so that its start is an offset into the map.
            let start = (view.data().as_ptr() as usize).wrapping_sub(base);
            let entry = Entry {
                shard: self.shards.len(),
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                range: start..start.saturating_add(view.data().len()),
            };
            if self.tensors.insert(name.to_owned(), entry).is_some() {
                return Err(invalid(&format!("tensor `{name}` is in another shard too")));
            }
        }
        self.shards.push(Shard { path, bytes });
        Ok(())
    }
}

impl TensorSource for SafetensorsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.get(name)?.shape.clone())
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let missing = || missing_tensor(&self.path, name);
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let shard = self.shards.get(entry.shard).ok_or_else(missing)?;
        let num_values = match entry.dtype {
            Dtype::F32 => entry.range.len() / 4,
            Dtype::F16 | Dtype::BF16 => entry.range.len() / 2,
            other => {
                return Err(LoadError::UnsupportedTensorType {
                    path: shard.path.clone(),
                    tensor: name.to_owned(),
                    tensor_type: format!("{other:?}"),
                });
            }
        };
        let mut values = vec![0.0; num_values];
        let (range, out) = (entry.range.clone(), values.as_mut_slice());
        match entry.dtype {
            Dtype::F32 => shard.bytes.decode(range, (4, 1), out, |bytes, out| {
                convert(bytes, out, f32::from_le_bytes);
            }),
            Dtype::F16 => shard.bytes.decode(range, (2, 1), out, |bytes, out| {
                convert(bytes, out, |b| f16::from_le_bytes(b).to_f32());
            }),
            _ => shard.bytes.decode(range, (2, 1), out, |bytes, out| {
                convert(bytes, out, |b| bf16::from_le_bytes(b).to_f32());
            }),
        }
        .ok_or_else(missing)?;
        check_finite(&shard.path, name, &values)?;
        Ok(values)
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32 + Sync) {
    let (bytes, _) = bytes.as_chunks::<N>();
    bytes
        .par_iter()
        .zip(out)
        .with_min_len(1 << 15)
        .for_each(|(bytes, out)| *out = value(*bytes));
}

/// How long the file would be if all of its header and its tensors were there.
fn promised_len(bytes: &[u8]) -> Option<u64> {
    let header = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    // Longer ones are refused, whatever follows.
    if header > 100_000_000 {
        return None;
    }
    let data = header + 8;
    let Some(json) = bytes.get(8..usize::try_from(data).ok()?) else {
        return Some(data);
    };
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let ends = json.as_object()?.values();
    let ends = ends.filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    data.checked_add(ends.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), data).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn one(name: &str, value: f32) -> Vec<u8> {
        file(&[(name, Dtype::F32, &[1, 1], &value.to_le_bytes())])
    }

    #[test]
    fn all_three_types() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = file(&[
            (
                "single",
                Dtype::F32,
                &[2],
                bytemuck::cast_slice(&[1.5_f32, -2.0]),
            ),
            ("half", Dtype::F16, &[1, 2], &[0x00, 0x3E, 0x00, 0xC0]),
            ("brain", Dtype::BF16, &[2, 1], &[0xC0, 0x3F, 0x00, 0xC0]),
            ("whole", Dtype::I32, &[1], &[0; 4]),
        ]);
        std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let tensors = SafetensorsFile::open(dir.path()).unwrap();
        assert_eq!(tensors.names(), ["brain", "half", "single", "whole"]);
        assert_eq!(tensors.shape("brain"), Some(vec![2, 1]));
        for name in ["single", "half", "brain"] {
            assert_eq!(tensors.read_f32(name).unwrap(), [1.5, -2.0], "{name}");
        }
        let message = tensors.read_f32("whole").unwrap_err().to_string();
        assert!(
            message.ends_with("tensor `whole` has the unsupported type I32"),
            "{message}"
        );
        assert!(matches!(
            tensors.read_f32("absent"),
            Err(LoadError::MissingTensor { .. })
        ));
    }

    #[test]
    fn shards() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("a.safetensors", &one("x", 1.0));
        write("b.safetensors", &one("y", 2.0));
        let index = |json: &str| {
            write(INDEX, json.as_bytes());
            SafetensorsFile::open(dir.path())
        };
        let tensors =
            index(r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#).unwrap();
        assert_eq!(tensors.read_f32("x").unwrap(), [1.0]);
        assert_eq!(tensors.read_f32("y").unwrap(), [2.0]);

        let cases = [
            (
                r#"{"weight_map": {"x": "b.safetensors"}}"#,
                "b.safetensors: no tensor `x`",
            ),
            (r#"{"weight_map": {"x": "c.safetensors"}}"#, "cannot read"),
            (
                r#"{"weight_map": {"x": "../a.safetensors"}}"#,
                "is not a file name",
            ),
            (
                r#"{"weight_map": {"x": 1}}"#,
                "weight_map.x: expected a file name",
            ),
            (r#"{}"#, "weight_map: expected an object"),
            (r#"{"#, "json: "),
        ];
        for (json, expected) in cases {
            let message = index(json).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
        write("b.safetensors", &one("x", 2.0));
        let twice = index(r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        assert!(
            twice
                .unwrap_err()
                .to_string()
                .contains("in another shard too")
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let bytes = one("x", 1.0);
        let file = tempfile::NamedTempFile::new().unwrap();
        for len in 0..bytes.len() {
            std::fs::write(file.path(), &bytes[..len]).unwrap();
            let error = SafetensorsFile::open(file.path()).unwrap_err();
            assert!(matches!(error, LoadError::Invalid { .. }), "{len}: {error}");
            if len >= 8 {
                let message = error.to_string();
                assert!(
                    message.contains(&format!("ends after {len} of")),
                    "{message}"
                );
            }
        }
        std::fs::write(file.path(), u64::MAX.to_le_bytes()).unwrap();
        assert!(SafetensorsFile::open(file.path()).is_err());
    }

    #[test]
    fn infinite_weights_and_empty_directories() {
        let dir = tempfile::tempdir().unwrap();
        let message = SafetensorsFile::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("no model.safetensors or"), "{message}");
        std::fs::write(dir.path().join(SINGLE), one("x", f32::INFINITY)).unwrap();
        let tensors = SafetensorsFile::open(dir.path()).unwrap();
        let message = tensors.read_f32("x").unwrap_err().to_string();
        assert!(
            message.ends_with("tensor `x` has the value inf at index 0"),
            "{message}"
        );
    }
}
