use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::callback::{BoxError, Callback};
use super::event_file::EventFile;
use super::report::StepReport;

/// Writes the numbers of every step for TensorBoard, under transformers' names (`train/loss`,
/// `train/learning_rate`, `train/grad_norm`), with tokens a second and the shares of every group, and what
/// was measured of checkpoints as `eval/<name>`.
///
/// A run that continues begins a further file, which takes the place of what earlier ones say of
/// the same steps.
///
/// # Examples
///
/// ```
/// use grsap_lora::TensorBoard;
///
/// // tensorboard --logdir runs
/// let callback = TensorBoard::new("runs/7");
/// # let _ = callback;
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    dir: PathBuf,
    file: Option<EventFile>,
}

impl TensorBoard {
    /// Writes into a folder once a run starts.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            file: None,
        }
    }

    fn write(&mut self, step: usize, scalars: &[(String, f64)]) -> Result<(), BoxError> {
        if let Some(file) = &mut self.file {
            file.scalars(now().as_secs_f64(), step as u64, scalars)?;
        }
        Ok(())
    }
}

fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

impl Callback for TensorBoard {
    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        fs::create_dir_all(&self.dir)?;
        let now = now();
        // Readers take files in the order of their names.
        let (seconds, nanos) = (now.as_secs(), now.subsec_nanos());
        let name = format!("events.out.tfevents.{seconds}.{nanos:09}.grsap");
        let file = File::create_new(self.dir.join(name))?;
        let first_step = first_step as u64 + 1;
        self.file = Some(EventFile::begin(file, now.as_secs_f64(), first_step)?);
        Ok(())
    }

    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        let mut scalars = vec![
            ("train/loss".to_owned(), report.loss),
            ("train/learning_rate".to_owned(), report.lr),
            ("train/grad_norm".to_owned(), report.grad_norm),
            (
                "train/tokens_per_second".to_owned(),
                report.tokens_per_second(),
            ),
        ];
        scalars.extend(report.kl.map(|kl| ("train/kl".to_owned(), kl)));
        for group in report.examples_by_group.keys() {
            let share = |of: &str| format!("{group}/{of}_share");
            scalars.push((share("example"), report.example_share(group)));
            scalars.push((share("target_token"), report.target_token_share(group)));
        }
        self.write(report.step, &scalars)?;
        Ok(ControlFlow::Continue(()))
    }

    fn on_measured(&mut self, step: usize, name: &str, value: f64) -> Result<(), BoxError> {
        self.write(step, &[(format!("eval/{name}"), value)])
    }
}
