use std::io;
use std::path::{Path, PathBuf};

use crate::tensor_problems::TensorProblems;

/// A model file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file system said no.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file that the model needs is not there.
    #[error("{}: no {what} found", path.display())]
    MissingFile {
        /// The directory that was searched.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// A field of the file has a value that cannot be.
    #[error("{}: {field}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, as the file's format calls it.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file ends before one of its fields does.
    #[error("{}: {field}: needs {needed} bytes at offset {offset}, but the file has {file_len} bytes", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The field that does not fit.
        field: String,
        /// Where the field begins.
        offset: u64,
        /// How long the field says it is.
        needed: u64,
        /// How long the file is.
        file_len: u64,
    },
    /// No decoder for this kind of model.
    #[error("{}: unknown architecture `{architecture}`, supported are: {}", path.display(), supported.join(", "))]
    UnknownArchitecture {
        /// The file.
        path: PathBuf,
        /// The architecture it names.
        architecture: String,
        /// The architectures that can be loaded.
        supported: &'static [&'static str],
    },
    /// The values of a tensor are stored in a way that is not supported.
    #[error("{}: tensor `{tensor}` has the unsupported type {tensor_type}", path.display())]
    UnsupportedTensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type's number (GGUF) or name (safetensors).
        tensor_type: String,
    },
    /// The model needs a tensor that the file lacks.
    #[error("{}: no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{}: tensor `{tensor}` has shape {got:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// The tensors of the file are not those of the model.
    #[error("{}: {problems}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        problems: Box<TensorProblems>,
    },
    /// The files could not be had from the hub.
    #[cfg(feature = "hub")]
    #[error("the model cannot be fetched")]
    Hub(
        /// The cause.
        #[from]
        crate::hub::HubError,
    ),
    /// A weight is NaN or infinite.
    #[error("{}: tensor `{tensor}` has the value {value} at index {index}", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The flat index of the first such weight.
        index: usize,
        /// The weight.
        value: f32,
    },
}

impl LoadError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn invalid(
        path: &Path,
        field: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            field: field.into(),
            reason: reason.to_string(),
        }
    }
}

/// Of most sizes of a model: far above any, and low enough that products of three cannot overflow.
pub(crate) const LARGEST_SIZE: usize = 1 << 21;

/// Refuses a size of 0 or above `limit`.
pub(crate) fn check_size(
    path: &Path,
    field: &str,
    size: usize,
    limit: usize,
) -> Result<(), LoadError> {
    if size == 0 || size > limit {
        let reason = format!("must be 1 to {limit}, got {size}");
        return Err(LoadError::invalid(path, field, reason));
    }
    Ok(())
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, LoadError> {
    let bytes = std::fs::read(path).map_err(|e| LoadError::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| LoadError::invalid(path, "json", e))
}

/// Reads a JSON file that may be missing.
pub(crate) fn read_json_if_there(path: &Path) -> Result<Option<serde_json::Value>, LoadError> {
    if path.is_file() {
        read_json(path).map(Some)
    } else {
        Ok(None)
    }
}
