use std::ops::ControlFlow;
use std::path::Path;

use super::report::{StepReport, TrainReport};

/// The error of a callback.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Told what a run does, and able to end it.
///
/// Measuring a model while it trains belongs here: on a checkpoint, load its adapter onto another
/// handle of the model with [`load_adapter`](crate::load_adapter) and ask that; [`KeepBest`](crate::KeepBest) does the rest.
pub trait Callback {
    /// Whether the run may begin, or continue after `first_step` finished steps. All callbacks are asked
    /// before the first of them is told of the start, so this changes nothing.
    ///
    /// # Errors
    ///
    /// Ends the run before it begins.
    fn may_start(&self, first_step: usize) -> Result<(), BoxError> {
        let _ = first_step;
        Ok(())
    }

    /// The run begins, or continues after `first_step` finished steps.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn on_start(&mut self, first_step: usize, num_steps: usize) -> Result<(), BoxError> {
        let _ = (first_step, num_steps);
        Ok(())
    }

    /// A step is finished. [`ControlFlow::Break`] ends the run after it, without an error.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        let _ = report;
        Ok(ControlFlow::Continue(()))
    }

    /// A checkpoint is complete: a directory with PEFT's files in it, or with those of a whole
    /// model. [`ControlFlow::Break`] ends the run after it.
    ///
    /// A run that continues tells of the checkpoint it continues from once more, since the one
    /// before may have been killed before it did.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn on_checkpoint(&mut self, step: usize, dir: &Path) -> Result<ControlFlow<()>, BoxError> {
        let _ = (step, dir);
        Ok(ControlFlow::Continue(()))
    }

    /// What this callback measured of the checkpoint after `step`, by name. Asked for when all have
    /// been told of the checkpoint.
    fn measured(&self, step: usize) -> Vec<(String, f64)> {
        let _ = step;
        Vec::new()
    }

    /// One of the callbacks has measured the checkpoint after `step`.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn on_measured(&mut self, step: usize, name: &str, value: f64) -> Result<(), BoxError> {
        let _ = (step, name, value);
        Ok(())
    }

    /// The run is over, without an error.
    ///
    /// # Errors
    ///
    /// Become the run's.
    fn on_end(&mut self, report: &TrainReport) -> Result<(), BoxError> {
        let _ = report;
        Ok(())
    }
}
