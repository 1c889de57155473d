use std::fs;
use std::path::Path;

use super::{AssetsError, LabelledReply};

/// Reads replies with one or more `human_score` columns. Lines with `#` above the header are notes.
pub(super) fn read_labels(path: &Path, category: &str) -> Result<Vec<LabelledReply>, AssetsError> {
    let mut text = fs::read_to_string(path).map_err(AssetsError::io(path))?;
    while text.starts_with('#') {
        text = text
            .split_once('\n')
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(AssetsError::parse(path))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h == name)
            .ok_or_else(|| AssetsError::parse(path)(format!("there is no column {name}")))
    };
    let (prompt, response) = (column("objective")?, column("assistant_response")?);
    let is_score: Vec<_> = header
        .iter()
        .map(|h| h.starts_with("human_score"))
        .collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(AssetsError::parse(path))?;
        let mut scores = Vec::new();
        for (value, _) in record.iter().zip(&is_score).filter(|(_, is)| **is) {
            scores.push(value.trim().parse::<f64>().map_err(|_| {
                let line = record.position().map_or(0, csv::Position::line);
                AssetsError::parse(path)(format!("record at line {line}: no score: {value:?}"))
            })?);
        }
        if scores.is_empty() {
            return Err(AssetsError::parse(path)("there is no column human_score"));
        }
        rows.push(LabelledReply {
            prompt: record.get(prompt).unwrap_or_default().trim().to_owned(),
            response: record.get(response).unwrap_or_default().trim().to_owned(),
            label: scores.iter().sum::<f64>() / scores.len() as f64,
            category: category.to_owned(),
        });
    }
    Ok(rows)
}
