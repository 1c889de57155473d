use std::ops::ControlFlow;

use grsap_core::Progress;

use super::callback::{BoxError, Callback};
use super::report::{StepReport, TrainReport};

/// Moves a [`Progress`] on with every step.
#[derive(Debug)]
pub struct ShowProgress<P: Progress> {
    progress: P,
    task: String,
    is_running: bool,
}

impl<P: Progress> ShowProgress<P> {
    /// Shows a run as `task`.
    pub fn new(progress: P, task: impl Into<String>) -> Self {
        Self {
            progress,
            task: task.into(),
            is_running: false,
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
        if first_step > 0 {
            self.progress.advance(first_step);
        }
        Ok(())
    }

    fn on_step(&mut self, _report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        self.progress.advance(1);
        Ok(ControlFlow::Continue(()))
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
