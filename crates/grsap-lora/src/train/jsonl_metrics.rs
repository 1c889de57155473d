use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::callback::{BoxError, Callback};
use super::report::StepReport;

/// Writes every [`StepReport`] as a line of JSON.
///
/// A run that continues keeps the lines of the steps before it and drops those of steps that are
/// taken again, so each step has one line; a run from the start begins a new file.
#[derive(Debug)]
pub struct JsonlMetrics {
    path: PathBuf,
    file: Option<File>,
}

#[derive(Deserialize)]
struct Line {
    step: usize,
}

impl JsonlMetrics {
    /// Writes to `path` once a run starts.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            file: None,
        }
    }
}

impl Callback for JsonlMetrics {
    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        let kept = lines_up_to(&self.path, first_step)?;
        grsap_core::write_atomic(&self.path, kept.as_bytes())?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        Ok(())
    }

    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        if let Some(file) = &mut self.file {
            let line = format!("{}\n", serde_json::to_string(report)?);
            file.write_all(line.as_bytes())?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn lines_up_to(path: &Path, last_step: usize) -> io::Result<String> {
    let text = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        text => text?,
    };
    // A line that a kill cut short does not parse.
    let is_kept =
        |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| line.step <= last_step);
    Ok(text
        .lines()
        .filter(is_kept)
        .map(|line| format!("{line}\n"))
        .collect())
}
