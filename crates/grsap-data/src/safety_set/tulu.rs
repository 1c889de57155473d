use std::path::Path;

use crate::table::read_table;
use crate::{DataError, Record};

/// The rows of the Tulu-3 mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Tulu3Rows {
    /// All chats, in the order of the file; `source` is the subset they are from.
    pub records: Vec<Record>,
    /// Chats whose messages an earlier one has.
    pub num_duplicates: usize,
}

/// Parts of the names of the subsets that teach safety.
const SAFETY_SUBSETS: [&str; 3] = ["wildguardmix", "wildjailbreak", "coconot"];

impl Tulu3Rows {
    /// Chats of the subsets that teach safety (CoCoNot, WildGuardMix, WildJailbreak): the model's
    /// alignment data. Harmful and benign requests are not told apart in them.
    pub fn safety(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| {
            let source = record.source.as_deref().unwrap_or_default();
            SAFETY_SUBSETS.iter().any(|subset| source.contains(subset))
        })
    }
}

/// Reads the Tulu-3 mixture: `id`, `messages` and `source`; Parquet as published, with the feature
/// `parquet`, or JSONL.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set), and [`DataError::InvalidRecord`] for a chat without
/// an assistant turn.
///
/// # Source
///
/// Lambert et al., Tulu 3 (arXiv 2411.15124), the data set `tulu-3-sft-mixture`.
pub fn read_tulu3(path: impl AsRef<Path>) -> Result<Tulu3Rows, DataError> {
    let path = path.as_ref();
    let mut records: Vec<Record> = Vec::new();
    for row in read_table(path)? {
        row.text("id")?;
        row.text("source")?;
        row.value("messages")?;
        let line = row.line();
        let messages_error = |reason: String| DataError::Field {
            path: path.into(),
            line,
            field: "messages",
            reason,
        };
        let record: Record = serde_json::from_value(row.into_value())
            .map_err(|error| messages_error(error.to_string()))?;
        record
            .validate()
            .map_err(|reason| DataError::InvalidRecord {
                path: path.into(),
                line,
                reason,
            })?;
        records.push(record);
    }
    let mut seen = std::collections::HashSet::new();
    let num_duplicates = records
        .iter()
        .filter(|record| {
            let turns = record
                .messages
                .iter()
                .map(|message| (message.role, message.content.as_str()));
            !seen.insert(turns.collect::<Vec<_>>())
        })
        .count();
    Ok(Tulu3Rows {
        records,
        num_duplicates,
    })
}
