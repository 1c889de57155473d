use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::TableRow;
use super::read::format;
use crate::DataError;

/// The rows of all row groups; lists and structs as JSON has them.
pub(super) fn read(path: &Path) -> Result<Vec<TableRow>, DataError> {
    let shared: Arc<Path> = path.into();
    let file = File::open(path).map_err(|source| DataError::io(path, source))?;
    let reader = SerializedFileReader::new(file).map_err(|error| format(path, error))?;
    let rows = reader
        .get_row_iter(None)
        .map_err(|error| format(path, error))?;
    rows.enumerate()
        .map(|(index, row)| {
            let row = row.map_err(|error| format(path, error))?;
            match row.to_json_value() {
                Value::Object(fields) => Ok(TableRow {
                    path: shared.clone(),
                    line: index + 1,
                    fields,
                }),
                _ => Err(format(path, "a row is no object")),
            }
        })
        .collect()
}
