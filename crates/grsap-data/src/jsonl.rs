use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DataError, Record};

/// Reads a file of one JSON value per line. Blank lines and a byte order mark are passed over.
///
/// # Errors
///
/// [`DataError::Io`], or [`DataError::Json`] and [`DataError::Utf8`] with the line.
pub fn read_jsonl<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>, DataError> {
    let path = path.as_ref();
    Ok(read_numbered(path)?
        .into_iter()
        .map(|(_, row)| row)
        .collect())
}

/// Reads records and checks that each has something to train on.
///
/// # Errors
///
/// As [`read_jsonl`], and [`DataError::InvalidRecord`] with the line of a row without an assistant
/// turn, and [`DataError::Empty`] for a file without rows.
pub fn read_records(path: impl AsRef<Path>) -> Result<Vec<Record>, DataError> {
    let path = path.as_ref();
    let rows = read_numbered::<Record>(path)?;
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    rows.into_iter()
        .map(|(line, record)| match record.validate() {
            Ok(()) => Ok(record),
            Err(reason) => Err(DataError::InvalidRecord {
                path: path.into(),
                line,
                reason,
            }),
        })
        .collect()
}

/// Rows with the lines they stand on.
pub(crate) fn read_numbered<T: DeserializeOwned>(
    path: &Path,
) -> Result<Vec<(usize, T)>, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut rows = Vec::new();
    for (index, line_bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let text = std::str::from_utf8(line_bytes).map_err(|_| DataError::Utf8 {
            path: path.into(),
            line,
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let row = serde_json::from_str(text).map_err(|source| {
            let path = path.into();
            match rows.is_empty() && text.trim_start().starts_with('[') {
                true => DataError::NotLines { path },
                false => DataError::Json { path, line, source },
            }
        })?;
        rows.push((line, row));
    }
    Ok(rows)
}

/// Writes one JSON value per line. The file is complete or is not there: see [`write_atomic`].
///
/// # Errors
///
/// [`DataError::Io`], or [`DataError::Serialize`] with the row.
pub fn write_jsonl<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<(), DataError> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    for (row, value) in rows.iter().enumerate() {
        serde_json::to_writer(&mut bytes, value).map_err(|source| DataError::Serialize {
            path: path.into(),
            row,
            source,
        })?;
        bytes.push(b'\n');
    }
    write_atomic(path, &bytes)
}

/// [`grsap_core::write_atomic`], with the path in the error.
///
/// # Errors
///
/// [`DataError::Io`].
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), DataError> {
    let path = path.as_ref();
    grsap_core::write_atomic(path, bytes).map_err(|source| DataError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_atomic(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn records_survive_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/rows.jsonl");
        let mut record = Record::exchange("say \"hi\"\n", "None")
            .with_id("1")
            .with_source("s");
        record.metadata.insert("score".into(), 0.5.into());
        let rows = vec![record, Record::exchange("null", "NA ☂")];
        write_jsonl(&path, &rows).unwrap();
        assert_eq!(read_records(&path).unwrap(), rows);
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays behind");
    }

    #[test]
    fn blank_lines_bom_and_crlf_are_passed_over() {
        let (_folder, path) = file(b"\xef\xbb\xbf1\r\n\r\n2\n\n");
        assert_eq!(read_jsonl::<u32>(&path).unwrap(), [1, 2]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let (_folder, path) = file(b"1\n\n{\"a\": ");
        let error = read_jsonl::<serde_json::Value>(&path).unwrap_err();
        assert!(matches!(&error, DataError::Json { line: 3, .. }), "{error}");
        assert!(error.to_string().contains("rows.jsonl:3: "), "{error}");

        let (_folder, path) = file(b"[\n{\"a\": 1}\n]\n");
        let error = read_jsonl::<serde_json::Value>(&path).unwrap_err();
        assert!(matches!(&error, DataError::NotLines { .. }), "{error}");

        let (_folder, path) = file(b"1\n\xff\n");
        let error = read_jsonl::<u32>(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("rows.jsonl:2: the line is not UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn a_row_without_an_assistant_turn_is_named() {
        let (_folder, path) = file(
            br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}

{"messages":[{"role":"user","content":"a"}]}"#,
        );
        let error = read_records(&path).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("rows.jsonl:3: messages has no assistant turn with text in it"),
            "{error}"
        );
    }

    #[test]
    fn empty_and_missing_files_are_errors() {
        let (_folder, path) = file(b"\n");
        assert!(matches!(read_records(&path), Err(DataError::Empty { .. })));
        let missing = path.with_file_name("missing.jsonl");
        let error = read_records(&missing).unwrap_err();
        assert!(error.to_string().contains("missing.jsonl"), "{error}");
    }
}
