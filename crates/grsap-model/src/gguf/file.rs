use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::dequantize::dequantize;
use super::tensor_type::TensorType;
use super::value::{GgufArray, GgufValue};
use crate::load_error::LoadError;
use crate::mapped_file::MappedFile;

const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A GGUF file, versions 2 and 3, mapped into memory. Tensors are decoded when asked for.
///
/// # Source
///
/// The GGUF specification of the ggml project (`docs/gguf.md`).
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    bytes: MappedFile,
    metadata: HashMap<String, GgufValue>,
    tensors: Vec<GgufTensor>,
    by_name: HashMap<String, usize>,
}

/// Where a tensor lies in a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// The file's own name for it.
    pub name: String,
    /// Row-major, as in PyTorch (the reverse of the order in the file).
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub tensor_type: TensorType,
    /// Its first byte in the file.
    start: usize,
    /// How many bytes it takes.
    len: usize,
    num_values: usize,
}

impl GgufFile {
    /// Maps the file at `path` and reads its header.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the field that is missing, damaged or not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        Self::parse(path, MappedFile::open(path)?)
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, LoadError> {
        Self::parse(Path::new("test.gguf"), MappedFile::Owned(bytes))
    }

    fn parse(path: &Path, bytes: MappedFile) -> Result<Self, LoadError> {
        let (metadata, tensors) = read_header(path, bytes.bytes())?;
        let mut by_name = HashMap::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            if by_name.insert(tensor.name.clone(), index).is_some() {
                let field = format!("tensor `{}`", tensor.name);
                return Err(LoadError::invalid(path, field, "the name appears twice"));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            bytes,
            metadata,
            tensors,
            by_name,
        })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// The values of a tensor, row-major, decoded to single precision.
    ///
    /// # Errors
    ///
    /// [`LoadError::MissingTensor`] when there is no such tensor.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let missing = || LoadError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        };
        let tensor = self.tensor(name).ok_or_else(missing)?;
        let kind = tensor.tensor_type;
        let range = tensor.start..tensor.start.saturating_add(tensor.len);
        let block = (kind.block_bytes(), kind.block_len());
        let mut values = vec![0.0; tensor.num_values];
        self.bytes
            .decode(range, block, &mut values, |bytes, out| {
                dequantize(kind, bytes, out);
            })
            .ok_or_else(missing)?;
        Ok(values)
    }

    /// The metadata value of `key`.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    fn wrong(&self, key: &str, expected: &str, got: &GgufValue) -> LoadError {
        let reason = format!("expected {expected}, got {}", got.kind());
        LoadError::invalid(&self.path, key, reason)
    }

    fn missing(&self, key: &str) -> LoadError {
        LoadError::invalid(&self.path, key, "the metadata has no such key")
    }

    /// The text of `key`.
    ///
    /// # Errors
    ///
    /// When the value is no text.
    pub fn string(&self, key: &str) -> Result<Option<&str>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text", other)),
        }
    }

    /// The texts of `key`.
    ///
    /// # Errors
    ///
    /// When the value is no array of texts.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Array(GgufArray::String(texts))) => Ok(Some(texts)),
            Some(other) => Err(self.wrong(key, "an array of texts", other)),
        }
    }

    /// The truth value of `key`.
    ///
    /// # Errors
    ///
    /// When the value is none.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "a truth value", other)),
        }
    }

    /// The count or id of `key`.
    ///
    /// # Errors
    ///
    /// When the value is no integer, or negative.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::Unsigned(value)) => Ok(Some(*value)),
            Some(GgufValue::Signed(value)) => match u64::try_from(*value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => {
                    let reason = format!("expected a count, got {value}");
                    Err(LoadError::invalid(&self.path, key, reason))
                }
            },
            Some(other) => Err(self.wrong(key, "an integer", other)),
        }
    }

    /// The number of `key`. A single-precision number becomes the double-precision number with
    /// the same shortest decimal form, so that 1e-5 stays 1e-5.
    ///
    /// # Errors
    ///
    /// When the value is no floating-point number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::F32(value)) => {
                let decimal = value.to_string().parse();
                Ok(Some(decimal.unwrap_or(f64::from(*value))))
            }
            Some(GgufValue::F64(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "a floating-point number", other)),
        }
    }

    pub(crate) fn require<T>(&self, key: &str, value: Option<T>) -> Result<T, LoadError> {
        value.ok_or_else(|| self.missing(key))
    }
}

type Header = (HashMap<String, GgufValue>, Vec<GgufTensor>);

fn read_header(path: &Path, bytes: &[u8]) -> Result<Header, LoadError> {
    let mut cursor = Cursor::new(path, bytes);
    let magic = cursor.array::<4>("magic")?;
    if &magic != b"GGUF" {
        let reason = format!("expected `GGUF`, got `{}`", magic.escape_ascii());
        return Err(LoadError::invalid(path, "magic", reason));
    }
    let version = cursor.u32("version")?;
    if !(2..=3).contains(&version) {
        let reason = format!("versions 2 and 3 (little-endian) are supported, got {version}");
        return Err(LoadError::invalid(path, "version", reason));
    }
    // A tensor takes at least a name's length, a rank, a size, a type and an offset; a metadata
    // entry at least a key's length, a type and one byte.
    let num_tensors = cursor.count("tensor_count", 8 + 4 + 8 + 4 + 8)?;
    let num_entries = cursor.count("metadata_kv_count", 8 + 4 + 1)?;

    let mut metadata = HashMap::new();
    for index in 0..num_entries {
        let key = cursor.string(&format!("key of metadata entry {index}"))?;
        let value = GgufValue::read(&mut cursor, &key)?;
        if metadata.contains_key(&key) {
            return Err(LoadError::invalid(path, key, "the key appears twice"));
        }
        metadata.insert(key, value);
    }

    let mut tensors = Vec::new();
    for index in 0..num_tensors {
        tensors.push(read_tensor(&mut cursor, index)?);
    }

    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(GgufValue::Unsigned(value)) if value.is_power_of_two() => *value,
        Some(other) => {
            let reason = format!("expected a power of two, got {other:?}");
            return Err(LoadError::invalid(path, "general.alignment", reason));
        }
    };
    let data_start = (cursor.position() as u64).checked_next_multiple_of(alignment);
    for tensor in &mut tensors {
        let field = format!("data of tensor `{}`", tensor.name);
        if !(tensor.start as u64).is_multiple_of(alignment) {
            let reason = format!("offset {} is no multiple of {alignment}", tensor.start);
            return Err(LoadError::invalid(path, field, reason));
        }
        let start = data_start.and_then(|start| start.checked_add(tensor.start as u64));
        let end = start.and_then(|start| start.checked_add(tensor.len as u64));
        match (start.and_then(|s| usize::try_from(s).ok()), end) {
            (Some(start), Some(end)) if end <= bytes.len() as u64 => tensor.start = start,
            _ => {
                return Err(LoadError::Truncated {
                    path: path.to_owned(),
                    field,
                    offset: start.unwrap_or(u64::MAX),
                    needed: tensor.len as u64,
                    file_len: bytes.len() as u64,
                });
            }
        }
    }
    Ok((metadata, tensors))
}

/// Reads what the file says about a tensor. `start` still counts from the start of the data.
fn read_tensor(cursor: &mut Cursor<'_>, index: usize) -> Result<GgufTensor, LoadError> {
    let path = cursor.path();
    let name = cursor.string(&format!("name of tensor {index}"))?;
    let field = format!("tensor `{name}`");
    let invalid = |reason: String| LoadError::invalid(path, field.clone(), reason);

    let rank = cursor.u32(&field)?;
    if !(1..=MAX_DIMS).contains(&rank) {
        return Err(invalid(format!("1 to {MAX_DIMS} dimensions, got {rank}")));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        let size = cursor.u64(&field)?;
        if size == 0 {
            return Err(invalid("a dimension of size 0".into()));
        }
        shape.push(usize::try_from(size).map_err(|_| invalid(format!("a dimension of {size}")))?);
    }
    let type_number = cursor.u32(&field)?;
    let offset = cursor.u64(&field)?;

    let tensor_type =
        TensorType::from_number(type_number).ok_or_else(|| LoadError::UnsupportedTensorType {
            path: path.to_owned(),
            tensor: name.clone(),
            tensor_type: type_number.to_string(),
        })?;
    let row_len = shape.first().copied().unwrap_or(0);
    if !row_len.is_multiple_of(tensor_type.block_len()) {
        let block_len = tensor_type.block_len();
        return Err(invalid(format!(
            "rows of {row_len} values do not divide into {tensor_type:?} blocks of {block_len}"
        )));
    }
    let too_large = || invalid(format!("shape {shape:?} is too large"));
    let num_values = shape
        .iter()
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .ok_or_else(too_large)?;
    let len = (num_values / tensor_type.block_len())
        .checked_mul(tensor_type.block_bytes())
        .ok_or_else(too_large)?;
    let start = usize::try_from(offset).map_err(|_| invalid(format!("offset {offset}")))?;
    shape.reverse();
    Ok(GgufTensor {
        name,
        shape,
        tensor_type,
        start,
        len,
        num_values,
    })
}
