use std::path::Path;

use super::TableRow;
use crate::DataError;

/// Reads the rows of a file, in the form that its name ends in: `.jsonl` (or `.ndjson`), `.json` (an
/// array of objects), `.csv`, `.tsv`, and `.parquet` with the feature of that name.
///
/// # Errors
///
/// [`DataError::Io`], [`DataError::Format`] for another ending or a file that is not in its form, and
/// [`DataError::Empty`] for one without rows.
pub(crate) fn read_table(path: &Path) -> Result<Vec<TableRow>, DataError> {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let rows = match ending.as_str() {
        "jsonl" | "ndjson" => super::json::read_lines(path),
        "json" => super::json::read_array(path),
        "csv" => super::delimited::read(path, b','),
        "tsv" => super::delimited::read(path, b'\t'),
        #[cfg(feature = "parquet")]
        "parquet" => super::parquet::read(path),
        #[cfg(not(feature = "parquet"))]
        "parquet" => Err(format(path, "reading it needs the feature `parquet`")),
        _ => Err(format(
            path,
            "its name must end in .jsonl, .json, .csv, .tsv or .parquet",
        )),
    }?;
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    Ok(rows)
}

pub(super) fn format(path: &Path, reason: impl ToString) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<TableRow>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_table(&path)
    }

    #[test]
    fn every_form_gives_the_same_rows() {
        for (name, text) in [
            (
                "a.jsonl",
                "{\"q\": \"a, \\\"b\\\"\", \"n\": 1}\n\n{\"q\": \"None\", \"n\": 2}\n",
            ),
            (
                "a.json",
                "[{\"q\": \"a, \\\"b\\\"\", \"n\": 1}, {\"q\": \"None\", \"n\": 2}]",
            ),
            ("a.CSV", "\u{feff}q,n\r\n\"a, \"\"b\"\"\",1\r\nNone,2\r\n"),
            ("a.tsv", "q\tn\n\"a, \"\"b\"\"\"\t1\nNone\t2\n"),
        ] {
            let rows = read(name, text).unwrap();
            let texts: Vec<_> = rows.iter().map(|row| row.text("q").unwrap()).collect();
            assert_eq!(texts, ["a, \"b\"", "None"], "{name}");
            let numbers: Vec<_> = rows.iter().map(|row| row.integer("n").unwrap()).collect();
            assert_eq!(numbers, [1, 2], "{name}");
        }
    }

    #[test]
    fn files_in_no_form_are_named() {
        let reason = |name, text| read(name, text).unwrap_err().to_string();
        assert!(
            reason("a.xml", "")
                .ends_with("a.xml: its name must end in .jsonl, .json, .csv, .tsv or .parquet")
        );
        assert!(reason("a", "").contains("its name must end in"));
        assert!(reason("a.jsonl", "[1]").contains("a.jsonl: a JSON array"));
        assert!(reason("a.json", "{\"q\": 1}").contains("a.json: "));
        assert!(reason("a.json", "[{\"q\": 1}, 2]").contains("a.json: "));
        let ragged = reason("a.csv", "q,n\n1\n");
        assert!(
            ragged.contains("a.csv: ") && ragged.contains("line: 2"),
            "{ragged}"
        );
        assert!(matches!(read("a.csv", "q\n"), Err(DataError::Empty { .. })));
        assert!(matches!(read("a.json", "[]"), Err(DataError::Empty { .. })));
        #[cfg(not(feature = "parquet"))]
        assert!(reason("a.parquet", "").ends_with("reading it needs the feature `parquet`"));
        #[cfg(feature = "parquet")]
        assert!(reason("a.parquet", "PAR1").contains("a.parquet: "));
    }
}
