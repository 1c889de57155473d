use std::path::PathBuf;

use grsap_core::{GuardError, ModelError, SamplingError};
use grsap_data::DataError;

use crate::{BufferError, FilterError, TemplateError};

/// A synthesis, or one of its stages, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// The model failed.
    #[error("{stage}: the model failed")]
    Model {
        /// The stage.
        stage: &'static str,
        /// What the model said.
        source: ModelError,
    },
    /// The guard failed.
    #[error("{stage}: the guard failed")]
    Guard {
        /// The stage.
        stage: &'static str,
        /// What the guard said.
        source: GuardError,
    },
    /// A model or guard returned another number of results than it was asked for.
    #[error("{stage}: {expected} {what} were expected, got {got}")]
    Length {
        /// The stage.
        stage: &'static str,
        /// What was returned.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A filter failed.
    #[error("{stage}: the filter failed")]
    Filter {
        /// The filter.
        stage: &'static str,
        /// What it said.
        source: FilterError,
    },
    /// A template cannot be used.
    #[error("{stage}: a template cannot be used")]
    Template {
        /// The stage.
        stage: &'static str,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A sampling parameter is out of range.
    #[error("{stage}: a sampling parameter is out of range")]
    Sampling {
        /// The stage.
        stage: &'static str,
        /// Which one.
        source: SamplingError,
    },
    /// A setting is out of range.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// A candidate came to a stage without what the stage works on.
    #[error("{stage}: candidate {id} has no {missing}")]
    Candidate {
        /// The stage.
        stage: &'static str,
        /// The candidate.
        id: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// The folder was begun with other settings.
    #[error("{}: begun with {field} = {there}, but now it is {here}", folder.display())]
    ConfigMismatch {
        /// The folder.
        folder: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value in the folder.
        there: String,
        /// Its value now.
        here: String,
    },
    /// A line of the journal is damaged, and it was no kill that did it.
    #[error("{}:{line}: {}", path.display(), damaged(*line))]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// Another run works in the folder.
    #[error("{}: another run is using it", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The result could not be saved.
    #[error(transparent)]
    Buffer(#[from] BufferError),
}

fn damaged(line: usize) -> &'static str {
    if line == 1 {
        "this is no journal, or its first line is damaged; name another file, or remove this one to start \
         again"
    } else {
        "the line is damaged; remove it to do its work again"
    }
}
