use std::io;
use std::path::PathBuf;

use crate::RecordError;

/// Data could not be read, written, sampled or mixed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{}: the file cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not the JSON that was expected.
    #[error("{}:{line}: the line is not the JSON that was expected", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The file is one JSON array.
    #[error("{}: a JSON array; expected are JSON lines, one object a line", path.display())]
    NotLines {
        /// The file.
        path: PathBuf,
    },
    /// A line is not UTF-8.
    #[error("{}:{line}: the line is not UTF-8", path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is JSON but not a record that can be trained on.
    #[error("{}:{line}: {reason}", path.display())]
    InvalidRecord {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What it lacks.
        reason: RecordError,
    },
    /// A field of a row has a value that the format does not allow.
    #[error("{}:{line}: field {field}: {reason}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is not in the form that its name says.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file has no rows.
    #[error("{}: there are no rows in the file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A row cannot be written as JSON.
    #[error("{}: row {row} cannot be written as JSON", path.display())]
    Serialize {
        /// The file.
        path: PathBuf,
        /// The row, counted from 0.
        row: usize,
        /// What the serialiser said.
        source: serde_json::Error,
    },
    /// More rows are wanted than there are.
    #[error("{needed} {what} rows are needed, but there are only {available}")]
    TooSmall {
        /// Which rows: "task", "replay", ...
        what: &'static str,
        /// Rows wanted.
        needed: usize,
        /// Rows there are.
        available: usize,
    },
    /// A number is outside its range.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The field or argument.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was.
        got: String,
    },
    /// An index is past the end.
    #[error("index {index} is out of range, there are {len} items")]
    OutOfRange {
        /// The index asked for.
        index: usize,
        /// Items there are.
        len: usize,
    },
}

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}
