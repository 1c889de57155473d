use std::io;
use std::path::{Path, PathBuf};

use grsap_kernels::KernelError;
use grsap_model::LoadError;

/// An adapter could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A field of [`LoraConfig`](crate::LoraConfig) is out of range.
    #[error("{field}: {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Names in `target_modules` that no projection has.
    #[error("target_modules: no projection is named {}, there are: {}", unknown.join(", "), available.join(", "))]
    UnknownModules {
        /// The names.
        unknown: Vec<String>,
        /// The names that exist.
        available: Vec<String>,
    },
    /// Numbers in `layers_to_transform` that no layer has.
    #[error("layers_to_transform: no layer {unknown:?}, the decoder has {num_layers}")]
    UnknownLayers {
        /// The numbers.
        unknown: Vec<usize>,
        /// How many layers there are, counted from 0.
        num_layers: usize,
    },
    /// The decoder's adapters are not those that the configuration describes.
    #[error("the adapter of {projection} does not fit the configuration: {reason}")]
    Mismatch {
        /// The projection.
        projection: String,
        /// How they differ.
        reason: String,
    },
    /// The decoder has no adapter.
    #[error("the decoder has no adapter")]
    NoAdapter,
    /// `adapter_config.json` asks for something that is not supported, or lacks a field.
    #[error("{}: {field}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors of a file are not those that its configuration asks for.
    #[error("{}: {}", path.display(), describe(missing, unexpected, misshapen))]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Names that are not there.
        missing: Vec<String>,
        /// Names that should not be there.
        unexpected: Vec<String>,
        /// Names with the expected and the found shape.
        misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    },
    /// A tensor file could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file system said no.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The values of a tensor could not be read back from the device.
    #[error("cannot read {tensor} from the device: {reason}")]
    Device {
        /// The tensor.
        tensor: String,
        /// The backend's message.
        reason: String,
    },
    /// The tensors do not make a file.
    #[error("cannot write tensors: {reason}")]
    Serialize {
        /// The cause.
        reason: String,
    },
    /// Factors of a wrong shape.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl AdapterError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

fn describe(
    missing: &[String],
    unexpected: &[String],
    misshapen: &[(String, Vec<usize>, Vec<usize>)],
) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("missing {}", some(missing)));
    }
    if !unexpected.is_empty() {
        parts.push(format!("unexpected {}", some(unexpected)));
    }
    if !misshapen.is_empty() {
        let shapes: Vec<String> = misshapen
            .iter()
            .map(|(name, expected, got)| format!("{name} (expected {expected:?}, got {got:?})"))
            .collect();
        parts.push(format!("wrong shape of {}", some(&shapes)));
    }
    parts.join("; ")
}

/// The first few of a list that may have hundreds.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}
