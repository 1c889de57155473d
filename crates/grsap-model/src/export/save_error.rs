use std::io;
use std::path::{Path, PathBuf};

/// A model could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// There is something in its place.
    #[error("{} is there already and not an empty directory", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// A projection still has an adapter; merge it or take it off first.
    #[error("{projection} has an adapter, which must be merged or taken off first")]
    Adapter {
        /// The projection.
        projection: String,
    },
    /// `config.json` cannot say what the model computes.
    #[error("{field}: {reason}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Why not.
        reason: String,
    },
    /// A weight is not finite, or too large for the storage type.
    #[error("{tensor}: {value} cannot be stored as {dtype}")]
    Range {
        /// The tensor.
        tensor: String,
        /// The first such weight.
        value: f32,
        /// The storage type.
        dtype: &'static str,
    },
    /// A weight could not be read from its device.
    #[error("{tensor}: cannot be read from its device: {reason}")]
    Device {
        /// The tensor.
        tensor: String,
        /// What the device says.
        reason: String,
    },
    /// The tokenizer has no JSON form.
    #[error("the tokenizer cannot be written: {reason}")]
    Tokenizer {
        /// Why not.
        reason: String,
    },
    /// The file system said no.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl SaveError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
