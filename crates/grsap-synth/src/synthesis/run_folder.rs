use std::fs;
use std::path::{Path, PathBuf};

use grsap_core::digest_hex;
use grsap_data::{DataError, read_jsonl, write_atomic, write_jsonl};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Filtered, StageReport, SynthError};

/// A folder that keeps what each finished stage produced, so that a run can go on.
pub(super) struct RunFolder {
    folder: PathBuf,
}

/// Written last; with it a stage is finished.
#[derive(Serialize, Deserialize)]
struct StageRecord {
    report: StageReport,
    kept_sha256: String,
    rejected_sha256: String,
    seconds: f64,
}

impl RunFolder {
    /// Opens or begins a folder for a run that `identity` describes.
    pub(super) fn open(folder: &Path, identity: &Value) -> Result<Self, SynthError> {
        let path = folder.join("run.json");
        if path.exists() {
            let there: Value = read_json(&path)?;
            if let Some((field, there, here)) = first_difference("", &there, identity) {
                return Err(SynthError::ConfigMismatch {
                    folder: folder.into(),
                    field,
                    there,
                    here,
                });
            }
        } else {
            write_json(&path, identity)?;
        }
        Ok(Self {
            folder: folder.into(),
        })
    }

    /// What stage number `index` produced, if it is finished.
    pub(super) fn load(
        &self,
        index: usize,
        stage: &str,
    ) -> Result<Option<(Filtered, StageReport)>, SynthError> {
        let path = self.path(index, stage, "report.json");
        if !path.exists() {
            return Ok(None);
        }
        let record: StageRecord = read_json(&path)?;
        let kept = read_checked(&self.path(index, stage, "kept.jsonl"), record.kept_sha256)?;
        let rejected = self.path(index, stage, "rejected.jsonl");
        let rejected = read_checked(&rejected, record.rejected_sha256)?;
        let filtered = Filtered {
            kept,
            rejected,
            counts: record.report.counts.clone(),
        };
        let report = StageReport {
            seconds: record.seconds,
            ..record.report
        };
        Ok(Some((filtered, report)))
    }

    /// Keeps what stage number `index` produced.
    pub(super) fn save(
        &self,
        index: usize,
        filtered: &Filtered,
        report: &StageReport,
    ) -> Result<(), SynthError> {
        let kept = self.path(index, &report.name, "kept.jsonl");
        let rejected = self.path(index, &report.name, "rejected.jsonl");
        write_jsonl(&kept, &filtered.kept)?;
        write_jsonl(&rejected, &filtered.rejected)?;
        let record = StageRecord {
            kept_sha256: digest_hex(&read(&kept)?),
            rejected_sha256: digest_hex(&read(&rejected)?),
            seconds: report.seconds,
            report: report.clone(),
        };
        write_json(&self.path(index, &report.name, "report.json"), &record)
    }

    fn path(&self, index: usize, stage: &str, what: &str) -> PathBuf {
        let name = format!("{index:02}-{stage}.{what}");
        self.folder.join("stages").join(name)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SynthError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    });
    Ok(bytes?)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SynthError> {
    serde_json::from_slice(&read(path)?).map_err(|source| {
        SynthError::Data(DataError::Json {
            path: path.into(),
            line: source.line(),
            source,
        })
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SynthError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| DataError::Serialize {
        path: path.into(),
        row: 0,
        source,
    })?;
    bytes.push(b'\n');
    Ok(write_atomic(path, &bytes)?)
}

fn read_checked<T: DeserializeOwned>(path: &Path, expected: String) -> Result<Vec<T>, SynthError> {
    let got = digest_hex(&read(path)?);
    if got != expected {
        return Err(SynthError::StageFile {
            path: path.into(),
            expected,
            got,
        });
    }
    Ok(read_jsonl(path)?)
}

/// The path of the first setting that is not the same, with its two values.
fn first_difference(path: &str, there: &Value, here: &Value) -> Option<(String, String, String)> {
    let within = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let (x, y) = (a.get(key), b.get(key));
                first_difference(&within(key), x.unwrap_or(&ABSENT), y.unwrap_or(&ABSENT))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(i, (x, y))| first_difference(&within(&i.to_string()), x, y)),
        (Value::Array(a), Value::Array(b)) => Some((
            path.to_owned(),
            format!("a list of {}", a.len()),
            format!("a list of {}", b.len()),
        )),
        (a, b) if a == b => None,
        (a, b) => Some((path.to_owned(), a.to_string(), b.to_string())),
    }
}

static ABSENT: Value = Value::Null;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named() {
        let a = json!({"seed": 1, "x": {"y": [1, {"z": 2}], "w": null}});
        assert_eq!(first_difference("", &a, &a), None);
        let cases = [
            (json!({"seed": 2, "x": a["x"]}), ("seed", "1", "2")),
            (
                json!({"seed": 1, "x": {"y": [1, {"z": 3}]}}),
                ("x.y.1.z", "2", "3"),
            ),
            (
                json!({"seed": 1, "x": {"y": [1]}}),
                ("x.y", "a list of 2", "a list of 1"),
            ),
            (
                json!({"seed": 1, "x": 5}),
                ("x", "{\"y\":[1,{\"z\":2}],\"w\":null}", "5"),
            ),
            (
                json!({"seed": 1, "x": a["x"], "new": 4}),
                ("new", "null", "4"),
            ),
        ];
        for (b, (field, there, here)) in cases {
            let expected = (field.to_owned(), there.to_owned(), here.to_owned());
            assert_eq!(first_difference("", &a, &b), Some(expected));
        }
    }
}
