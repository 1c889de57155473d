use std::path::PathBuf;

use grsap_data::DataError;

/// A replay buffer cannot be made, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// A file could not be read or written, or a line of it is no row.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The manifest is not the JSON that was expected.
    #[error("{}: the manifest cannot be read", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The manifest is of another format.
    #[error("{}: format version {got} is not known, expected {expected}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version this library writes.
        expected: u32,
        /// The version found.
        got: u64,
    },
    /// The file ends before its last row.
    #[error("{}: the file is truncated, expected {expected} rows, got {got} whole ones", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Rows by the manifest.
        expected: usize,
        /// Whole rows in the file.
        got: usize,
    },
    /// The file has rows that the manifest does not know.
    #[error("{}: expected {expected} rows, got {got}", path.display())]
    NumRows {
        /// The file.
        path: PathBuf,
        /// Rows by the manifest.
        expected: usize,
        /// Rows in the file.
        got: usize,
    },
    /// The file was changed.
    #[error("{}: expected SHA-256 {expected}, got {got}", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// The hash in the manifest.
        expected: String,
        /// The hash of the file.
        got: String,
    },
    /// The manifest was changed.
    #[error("{}: the manifest was changed, its checksum is wrong", path.display())]
    Checksum {
        /// The manifest.
        path: PathBuf,
    },
    /// A count in the manifest is not that of the rows.
    #[error("{}: the manifest says {field} = {expected}, the rows say {got}", path.display())]
    Count {
        /// The manifest.
        path: PathBuf,
        /// The count.
        field: &'static str,
        /// Its value in the manifest.
        expected: usize,
        /// Its value by the rows.
        got: usize,
    },
    /// What the files say is not what they should.
    #[error("{} is not as its manifest says: {}", folder.display(), differences.join("; "))]
    Differs {
        /// The buffer.
        folder: PathBuf,
        /// Each thing that differs.
        differences: Vec<String>,
    },
    /// A row is marked as safe, but there is nothing to train on.
    #[error("example {id}: the {field} is blank")]
    Blank {
        /// The row.
        id: String,
        /// What is blank.
        field: &'static str,
    },
    /// The data cannot be written as JSON.
    #[error("{what} cannot be written as JSON")]
    Serialize {
        /// What cannot.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}
