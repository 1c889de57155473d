use std::collections::HashMap;
use std::fs;
use std::path::Path;

use grsap_data::DataError;

use super::replay_buffer::{PICTURE, REJECTED, TABLE};
use super::{BufferError, ReplayBuffer};
use crate::{Rejected, StageReport};

/// What is not as it should be in a buffer whose rows and manifest could be read from `folder`.
pub(super) fn differences(
    buffer: &ReplayBuffer,
    folder: &Path,
) -> Result<Vec<String>, BufferError> {
    let path = folder.join(REJECTED);
    if buffer.manifest().num_rejected > 0 && !path.exists() {
        // Nothing else can be told without it.
        return Ok(vec![format!("{REJECTED} is missing")]);
    }
    let mut differences = stages(buffer);
    let yields = buffer.yields();
    for (name, expected) in [(TABLE, yields.to_markdown()), (PICTURE, yields.to_svg())] {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) if bytes == expected.as_bytes() => {}
            Ok(_) => differences.push(format!("{name} shows other figures")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                differences.push(format!("{name} is missing"));
            }
            Err(source) => return Err(DataError::Io { path, source }.into()),
        }
    }
    Ok(differences)
}

/// Compares the report of each stage with what the rows and the dropped candidates tell.
fn stages(buffer: &ReplayBuffer) -> Vec<String> {
    let mut dropped: HashMap<&str, Vec<&Rejected>> = HashMap::new();
    for rejected in buffer.rejected() {
        dropped.entry(&rejected.stage).or_default().push(rejected);
    }
    let mut differences = Vec::new();
    // What a stage kept are the rows and what later stages dropped.
    let mut later: Vec<&Rejected> = Vec::new();
    for stage in buffer.stages().iter().rev() {
        let rejected = dropped.remove(stage.name.as_str()).unwrap_or_default();
        let rows = buffer.examples().iter().map(|row| &row.scores);
        let kept = rows.chain(later.iter().map(|later| &later.candidate.scores));
        let counts = stage.counts.clone();
        let told = StageReport::new(&stage.name, kept, rejected.iter().copied(), counts);
        differences.extend(compare(stage, &told));
        later.extend(rejected);
    }
    let mut strangers: Vec<&str> = dropped.into_keys().collect();
    strangers.sort_unstable();
    if !buffer.stages().is_empty() {
        differences.extend(strangers.into_iter().map(|stage| {
            format!("{REJECTED} has candidates of stage {stage}, which the manifest does not know")
        }));
    }
    let expected = super::manifest::num_tokens(buffer.stages());
    let got = buffer.manifest().num_tokens;
    if expected != got {
        differences.push(format!("num_tokens is {got}, the stages have {expected}"));
    }
    differences
}

fn compare(stage: &StageReport, told: &StageReport) -> Vec<String> {
    let fields = [
        (
            "kept",
            format!("{:?}", stage.kept),
            format!("{:?}", told.kept),
        ),
        (
            "rejected",
            format!("{:?}", stage.rejected),
            format!("{:?}", told.rejected),
        ),
        (
            "reasons",
            format!("{:?}", stage.reasons),
            format!("{:?}", told.reasons),
        ),
        (
            "scores",
            format!("{:?}", stage.scores),
            format!("{:?}", told.scores),
        ),
        (
            "other_scores",
            format!("{:?}", stage.other_scores),
            format!("{:?}", told.other_scores),
        ),
    ];
    let differing = fields.into_iter().filter(|(_, there, told)| there != told);
    differing
        .map(|(field, there, told)| {
            let name = &stage.name;
            format!("stage {name}: {field} is {there} in the manifest, the files say {told}")
        })
        .collect()
}
