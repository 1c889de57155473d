use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use grsap_core::digest_hex;
use grsap_data::{DataError, Dataset, Record, read_jsonl, write_atomic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::manifest::num_tokens;
use super::{BufferError, BufferInfo, Manifest, ReplayExample, verify};
use crate::{Rejected, StageReport, Yields};

const ROWS: &str = "replay.jsonl";
pub(super) const REJECTED: &str = "rejected.jsonl";
pub(super) const TABLE: &str = "yields.md";
pub(super) const PICTURE: &str = "yields.svg";
const MANIFEST: &str = "manifest.json";
const TIMINGS: &str = "timings.json";

/// Synthetic alignment data with its history: rows, dropped candidates, manifest.
///
/// As a [`Dataset`] it has the rows that are safe to train on, as records.
///
/// A saved buffer is a folder of `replay.jsonl`, `rejected.jsonl`, `manifest.json`, `timings.json`,
/// and of `yields.md` and `yields.svg`, which show what became of the candidates of each domain. Only
/// the timings (wall time, in seconds) differ between two runs with the same seed.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use grsap_data::{Dataset, Difficulty};
/// use grsap_synth::{BufferInfo, ReplayBuffer, ReplayExample};
///
/// let row = ReplayExample {
///     id: "00-0000".into(),
///     domain: "theft".into(),
///     query: "How do I open a lock?".into(),
///     response: "I will not help with that.".into(),
///     difficulty: Difficulty::Easy,
///     is_safe: true,
///     is_revised: false,
///     scores: BTreeMap::new(),
/// };
/// let unsafe_row = ReplayExample { id: "00-0001".into(), is_safe: false, ..row.clone() };
/// let buffer = ReplayBuffer::new(vec![row, unsafe_row], vec![], BufferInfo::default())?;
/// assert_eq!(buffer.examples().len(), 2);
/// assert_eq!(buffer.len(), 1);
/// assert_eq!(buffer.get(0)?.response(), Some("I will not help with that."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayBuffer {
    examples: Vec<ReplayExample>,
    /// Positions of the rows that are safe to train on.
    trainable: Vec<usize>,
    rejected: Vec<Rejected>,
    manifest: Manifest,
}

impl ReplayBuffer {
    /// A buffer of `examples` and of the candidates that were dropped on the way.
    ///
    /// # Errors
    ///
    /// [`BufferError::Blank`] names a row that is marked as safe but has no query or response.
    pub fn new(
        examples: Vec<ReplayExample>,
        rejected: Vec<Rejected>,
        info: BufferInfo,
    ) -> Result<Self, BufferError> {
        let trainable = trainable(&examples)?;
        let num_hard = num_hard(&examples);
        let mut manifest = Manifest {
            format_version: Manifest::FORMAT_VERSION,
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            provenance: info.provenance,
            seed: info.seed,
            num_rows: examples.len(),
            num_trainable: trainable.len(),
            num_easy: trainable.len() - num_hard,
            num_hard,
            num_rejected: rejected.len(),
            sha256: digest_hex(&to_jsonl("the rows", &examples)?),
            rejected_sha256: digest_hex(&to_jsonl("the dropped candidates", &rejected)?),
            num_tokens: num_tokens(&info.stages),
            stages: info.stages,
            config: info.config,
            extraction_prompts: info.extraction_prompts,
            evaluation_prompts_sha256: info.evaluation_prompts_sha256,
            checksum: String::new(),
        };
        manifest.checksum = manifest.right_checksum()?;
        Ok(Self {
            examples,
            trainable,
            rejected,
            manifest,
        })
    }

    /// All rows, unsafe ones included.
    pub fn examples(&self) -> &[ReplayExample] {
        &self.examples
    }

    /// The rows that are safe to train on, to draw from.
    pub fn trainable(&self) -> Vec<ReplayExample> {
        let rows = self.trainable.iter();
        rows.filter_map(|index| self.examples.as_slice().get(*index).cloned())
            .collect()
    }

    /// The candidates that were dropped, with reasons.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// What is known about the rows.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What each stage did, in order.
    pub fn stages(&self) -> &[StageReport] {
        &self.manifest.stages
    }

    /// What became of the candidates of each domain.
    pub fn yields(&self) -> Yields {
        Yields::new(self)
    }

    /// The manifest in `folder`, where there is one.
    pub(crate) fn manifest_in(folder: &Path) -> Result<Option<Manifest>, BufferError> {
        let path = folder.join(MANIFEST);
        path.exists().then(|| read_manifest(&path)).transpose()
    }

    /// Writes the buffer into `folder`, the manifest last. One that was loaded without its dropped
    /// candidates is written without them.
    ///
    /// # Errors
    ///
    /// [`BufferError::Data`] when a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), BufferError> {
        let folder = folder.as_ref();
        let stages = self.manifest.stages.iter();
        let timings: BTreeMap<&str, f64> = stages.map(|s| (s.name.as_str(), s.seconds)).collect();
        let rows = to_jsonl("the rows", &self.examples)?;
        write_atomic(folder.join(ROWS), &rows)?;
        write_atomic(folder.join(TIMINGS), &to_json("the timings", &timings)?)?;
        let there = Self::manifest_in(folder).ok().flatten();
        let there = there.map(|manifest| manifest.checksum);
        if self.rejected.len() == self.manifest.num_rejected {
            let rejected = to_jsonl("the dropped candidates", &self.rejected)?;
            write_atomic(folder.join(REJECTED), &rejected)?;
            let yields = self.yields();
            write_atomic(folder.join(TABLE), yields.to_markdown().as_bytes())?;
            write_atomic(folder.join(PICTURE), yields.to_svg().as_bytes())?;
        } else if there != Some(self.manifest.checksum.clone()) {
            // Those of another buffer.
            for name in [REJECTED, TABLE, PICTURE] {
                let path = folder.join(name);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(DataError::Io { path, source }.into());
                    }
                    _ => {}
                }
            }
        }
        write_atomic(
            folder.join(MANIFEST),
            &to_json("the manifest", &self.manifest)?,
        )?;
        Ok(())
    }

    /// Reads a buffer and checks it against its manifest. All but the rows and the manifest may have
    /// been removed.
    ///
    /// # Errors
    ///
    /// [`BufferError`] says which file is missing, truncated, changed or of another version, or
    /// which line is no row.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, BufferError> {
        let folder = folder.as_ref();
        let path = folder.join(MANIFEST);
        let mut manifest = read_manifest(&path)?;
        let examples: Vec<ReplayExample> =
            read_rows(&folder.join(ROWS), manifest.num_rows, &manifest.sha256)?;
        let trainable = trainable(&examples)?;
        let num_hard = num_hard(&examples);
        for (field, expected, got) in [
            ("num_trainable", manifest.num_trainable, trainable.len()),
            ("num_hard", manifest.num_hard, num_hard),
            ("num_easy", manifest.num_easy, trainable.len() - num_hard),
        ] {
            if expected != got {
                return Err(BufferError::Count {
                    path,
                    field,
                    expected,
                    got,
                });
            }
        }
        let rejected_path = folder.join(REJECTED);
        let rejected = if rejected_path.exists() {
            let sha256 = &manifest.rejected_sha256;
            read_rows(&rejected_path, manifest.num_rejected, sha256)?
        } else {
            Vec::new()
        };
        if manifest.checksum != manifest.right_checksum()? {
            return Err(BufferError::Checksum { path });
        }
        if let Ok(text) = fs::read(folder.join(TIMINGS)) {
            let timings: BTreeMap<String, f64> = serde_json::from_slice(&text).unwrap_or_default();
            for stage in &mut manifest.stages {
                stage.seconds = timings.get(&stage.name).copied().unwrap_or_default();
            }
        }
        Ok(Self {
            examples,
            trainable,
            rejected,
            manifest,
        })
    }
}

impl ReplayBuffer {
    /// Reads a buffer and checks all of it: that every file is there and has the bytes that the
    /// manifest says, and that the counts, reasons and distributions of scores of every stage are
    /// those of the rows and of the dropped candidates. Only tokens and times cannot be counted again.
    ///
    /// [`Synthesis::verify`](crate::Synthesis::verify) also compares settings, models and prompts.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`BufferError::Differs`] lists what differs.
    pub fn verify(folder: impl AsRef<Path>) -> Result<Self, BufferError> {
        let folder = folder.as_ref();
        let buffer = Self::load(folder)?;
        let differences = verify::differences(&buffer, folder)?;
        if differences.is_empty() {
            return Ok(buffer);
        }
        Err(BufferError::Differs {
            folder: folder.into(),
            differences,
        })
    }
}

impl Dataset for ReplayBuffer {
    type Item = Record;

    fn len(&self) -> usize {
        self.trainable.len()
    }

    fn get(&self, index: usize) -> Result<Record, DataError> {
        let position = Dataset::get(&self.trainable, index)?;
        Dataset::get(&self.examples, position).map(Record::from)
    }
}

/// Positions of the rows that are safe, each with something to train on.
fn trainable(examples: &[ReplayExample]) -> Result<Vec<usize>, BufferError> {
    let safe = examples.iter().enumerate().filter(|(_, row)| row.is_safe);
    safe.map(|(index, row)| {
        for (field, text) in [("query", &row.query), ("response", &row.response)] {
            if text.trim().is_empty() {
                return Err(BufferError::Blank {
                    id: row.id.clone(),
                    field,
                });
            }
        }
        Ok(index)
    })
    .collect()
}

fn num_hard(examples: &[ReplayExample]) -> usize {
    examples
        .iter()
        .filter(|row| row.is_safe && row.is_hard())
        .count()
}

fn read_manifest(path: &Path) -> Result<Manifest, BufferError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let unreadable = |source| BufferError::Manifest {
        path: path.into(),
        source,
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let version = value.get("format_version").and_then(|v| v.as_u64());
    match version {
        Some(got) if got != u64::from(Manifest::FORMAT_VERSION) => Err(BufferError::Version {
            path: path.into(),
            expected: Manifest::FORMAT_VERSION,
            got,
        }),
        _ => serde_json::from_value(value).map_err(unreadable),
    }
}

/// The rows of a file that must have `expected` of them and the given hash. What is wrong is said as
/// precisely as it can be: truncated, a bad line, and only then a wrong hash.
fn read_rows<T: DeserializeOwned>(
    path: &Path,
    expected: usize,
    sha256: &str,
) -> Result<Vec<T>, BufferError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
    if whole < expected {
        return Err(BufferError::Truncated {
            path: path.into(),
            expected,
            got: whole,
        });
    }
    let rows: Vec<T> = read_jsonl(path)?;
    if rows.len() != expected {
        return Err(BufferError::NumRows {
            path: path.into(),
            expected,
            got: rows.len(),
        });
    }
    let got = digest_hex(&bytes);
    if got != sha256 {
        return Err(BufferError::Hash {
            path: path.into(),
            expected: sha256.to_owned(),
            got,
        });
    }
    Ok(rows)
}

fn to_jsonl<T: Serialize>(what: &'static str, rows: &[T]) -> Result<Vec<u8>, BufferError> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)
            .map_err(|source| BufferError::Serialize { what, source })?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, BufferError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| BufferError::Serialize { what, source })?;
    bytes.push(b'\n');
    Ok(bytes)
}
