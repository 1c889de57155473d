use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::TableRow;
use super::read::format;
use crate::{DataError, jsonl};

/// One object on each line.
pub(super) fn read_lines(path: &Path) -> Result<Vec<TableRow>, DataError> {
    let shared: Arc<Path> = path.into();
    let rows = jsonl::read_numbered::<Map<String, Value>>(path)?;
    Ok(rows
        .into_iter()
        .map(|(line, fields)| TableRow {
            path: shared.clone(),
            line,
            fields,
        })
        .collect())
}

/// An array of objects.
pub(super) fn read_array(path: &Path) -> Result<Vec<TableRow>, DataError> {
    let shared: Arc<Path> = path.into();
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(bytes)
        .map_err(|error| format(path, format!("it must be an array of objects: {error}")))?;
    Ok(rows
        .into_iter()
        .enumerate()
        .map(|(index, fields)| TableRow {
            path: shared.clone(),
            line: index + 1,
            fields,
        })
        .collect())
}
