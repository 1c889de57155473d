use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::callback::{BoxError, Callback};
use super::report::StepReport;

/// Writes every [`StepReport`] as a line of JSON, and what was measured of a checkpoint as a line after
/// it: `{"step":50,"eval_loss":0.47}`.
///
/// A run that continues keeps the lines of the steps before it and drops those of steps that are
/// taken again, so each step has one line; a run from the start begins a new file.
#[derive(Debug)]
pub struct JsonlMetrics {
    path: PathBuf,
    file: Option<File>,
    /// The lines of the step that a run continues from: its checkpoint is measured again.
    last: Vec<Vec<u8>>,
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
            last: Vec::new(),
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

impl Callback for JsonlMetrics {
    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        let (kept, last) = lines_up_to(&self.path, first_step)?;
        grsap_core::write_atomic(&self.path, &kept)?;
        self.last = last;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        Ok(())
    }

    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        self.write(&format!("{}\n", serde_json::to_string(report)?))?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_measured(&mut self, step: usize, name: &str, value: f64) -> Result<(), BoxError> {
        let name = serde_json::to_string(&format!("eval_{name}"))?;
        let value = serde_json::to_string(&value)?;
        let line = format!("{{\"step\":{step},{name}:{value}}}\n");
        if !self.last.iter().any(|last| last == line.as_bytes()) {
            self.write(&line)?;
        }
        Ok(())
    }
}

/// The lines of the steps up to one, and those of that one by themselves.
fn lines_up_to(path: &Path, last_step: usize) -> io::Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        bytes => bytes?,
    };
    let (mut kept, mut last) = (Vec::new(), Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // A line that a kill cut short does not parse.
        let Ok(Line { step }) = serde_json::from_slice(line) else {
            continue;
        };
        let line = [line.trim_ascii_end(), b"\n"].concat();
        if step <= last_step {
            kept.extend_from_slice(&line);
        }
        if step == last_step {
            last.push(line);
        }
    }
    Ok((kept, last))
}
