use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::TableRow;
use super::read::format;
use crate::DataError;

/// A header, then rows of texts; quoted fields may hold line breaks.
pub(super) fn read(path: &Path, delimiter: u8) -> Result<Vec<TableRow>, DataError> {
    let shared: Arc<Path> = path.into();
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(bytes);
    let names = reader
        .headers()
        .map_err(|error| format(path, error))?
        .clone();
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| format(path, error))?;
            let line = record.position().map_or(0, csv::Position::line);
            let fields = names
                .iter()
                .zip(&record)
                .map(|(name, text)| (name.trim().to_owned(), Value::from(text)))
                .collect();
            Ok(TableRow {
                path: shared.clone(),
                line: usize::try_from(line).unwrap_or(usize::MAX),
                fields,
            })
        })
        .collect()
}
