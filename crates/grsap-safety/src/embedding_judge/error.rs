use std::path::PathBuf;

use grsap_core::ModelError;

use crate::LogisticError;

/// A judge cannot be fitted, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// A setting is out of range.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was.
        got: String,
    },
    /// There are fewer prompts than folds, or only one class.
    #[error("{num_examples} labelled exchanges are too few for {num_folds} folds by prompt")]
    TooFew {
        /// Exchanges given.
        num_examples: usize,
        /// Folds asked for.
        num_folds: usize,
    },
    /// The classifier could not be fitted.
    #[error("the classifier could not be fitted")]
    Fit(#[from] LogisticError),
    /// The embedder failed.
    #[error("the embedder failed")]
    Embedder(#[from] ModelError),
    /// The judge was fitted on embeddings of another length.
    #[error("the judge was fitted on embeddings of {expected} numbers, the embedder gives {got}")]
    Dim {
        /// Length it was fitted on.
        expected: usize,
        /// Length given.
        got: usize,
    },
    /// The file is not a saved judge.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("{path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}
