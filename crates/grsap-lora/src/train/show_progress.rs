use std::collections::BTreeMap;
use std::ops::ControlFlow;

use grsap_core::Progress;

use super::callback::{BoxError, Callback};
use super::report::{StepReport, TrainReport};

/// Moves a [`Progress`] on with every step, with the loss, the tokens a second since the run
/// began, and what was last measured of a checkpoint. What is left of the time is for the [`Progress`] to say.
#[derive(Debug)]
pub struct ShowProgress<P: Progress> {
    progress: P,
    task: String,
    is_running: bool,
    num_tokens: usize,
    seconds: f64,
    measured: BTreeMap<String, f64>,
}

impl<P: Progress> ShowProgress<P> {
    /// Shows a run as `task`.
    pub fn new(progress: P, task: impl Into<String>) -> Self {
        Self {
            progress,
            task: task.into(),
            is_running: false,
            num_tokens: 0,
            seconds: 0.0,
            measured: BTreeMap::new(),
        }
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.is_running) {
            self.progress.finish();
        }
    }
}

impl<P: Progress> Callback for ShowProgress<P> {
    fn on_start(&mut self, first_step: usize, num_steps: usize) -> Result<(), BoxError> {
        self.finish();
        self.progress.start(&self.task, num_steps);
        self.is_running = true;
        (self.num_tokens, self.seconds) = (0, 0.0);
        self.measured.clear();
        if first_step > 0 {
            self.progress.resume(first_step);
        }
        Ok(())
    }

    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        self.num_tokens += report.num_tokens;
        self.seconds += report.seconds;
        let rate = self.num_tokens as f64 / self.seconds.max(f64::MIN_POSITIVE);
        let mut note = format!("loss {:.3}, {rate:.0} tokens/s", report.loss);
        for (name, value) in &self.measured {
            note += &format!(", eval {name} {value:.3}");
        }
        // First, so that whoever prints where it advances prints what belongs to this step.
        self.progress.note(&note);
        self.progress.advance(1);
        Ok(ControlFlow::Continue(()))
    }

    fn on_measured(&mut self, _step: usize, name: &str, value: f64) -> Result<(), BoxError> {
        self.measured.insert(name.to_owned(), value);
        Ok(())
    }

    fn on_end(&mut self, _report: &TrainReport) -> Result<(), BoxError> {
        self.finish();
        Ok(())
    }
}

/// A run that fails has no end of its own.
impl<P: Progress> Drop for ShowProgress<P> {
    fn drop(&mut self) {
        self.finish();
    }
}
