use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::callback::{BoxError, Callback};
use crate::adapter::{ADAPTER_CONFIG, ADAPTER_MODEL};

const METRIC: &str = "metric.json";
const PREFIX: &str = "best-";

/// The best checkpoint so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    /// After this step.
    pub step: usize,
    /// The metric of its adapter.
    pub value: f64,
}

/// Measures every checkpoint, keeps the adapter of the best one, and can end a run that no longer
/// gets better.
///
/// The adapter is in `best-<step>`, apart from the checkpoints, so that their number can be limited.
/// A run that continues remembers the best one of before; a run from the start forgets it.
///
/// # Examples
///
/// ```
/// use grsap_lora::KeepBest;
///
/// let loss_on_held_out = |_step: usize, _adapter: &std::path::Path| Ok(0.5);
/// // Ends after three checkpoints in a row without a lower loss.
/// let best = KeepBest::lowest("run", loss_on_held_out).with_patience(3);
/// assert!(best.best().is_none());
/// ```
pub struct KeepBest<M> {
    dir: PathBuf,
    metric: M,
    greater_is_better: bool,
    patience: Option<usize>,
    best: Option<BestCheckpoint>,
    num_worse: usize,
}

impl<M> KeepBest<M>
where
    M: FnMut(usize, &Path) -> Result<f64, BoxError>,
{
    /// Keeps the adapter with the lowest metric, in a folder below `dir`. The metric is given the
    /// step and the directory of each checkpoint.
    pub fn lowest(dir: impl Into<PathBuf>, metric: M) -> Self {
        Self {
            dir: dir.into(),
            metric,
            greater_is_better: false,
            patience: None,
            best: None,
            num_worse: 0,
        }
    }

    /// The same with the highest metric.
    pub fn highest(dir: impl Into<PathBuf>, metric: M) -> Self {
        Self {
            greater_is_better: true,
            ..Self::lowest(dir, metric)
        }
    }

    /// Ends the run after so many checkpoints in a row that are not better.
    #[must_use]
    pub fn with_patience(mut self, patience: usize) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The best checkpoint so far.
    pub fn best(&self) -> Option<BestCheckpoint> {
        self.best
    }

    /// Where its adapter is.
    pub fn best_dir(&self) -> Option<PathBuf> {
        self.best.map(|best| self.dir_of(best.step))
    }

    fn dir_of(&self, step: usize) -> PathBuf {
        self.dir.join(format!("{PREFIX}{step}"))
    }

    fn keep(&mut self, best: BestCheckpoint, checkpoint: &Path) -> Result<(), BoxError> {
        let hidden = tempfile::Builder::new()
            .prefix(".best-")
            .tempdir_in(&self.dir)?;
        for name in [ADAPTER_CONFIG, ADAPTER_MODEL] {
            fs::copy(checkpoint.join(name), hidden.path().join(name))?;
        }
        let json = serde_json::to_vec(&best)?;
        grsap_core::write_atomic(hidden.path().join(METRIC), &json)?;
        let target = self.dir_of(best.step);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(hidden.keep(), &target)?;
        // The old one goes last: a kill leaves one too many, which the next start sees.
        if let Some(old) = self.best.replace(best).filter(|old| old.step != best.step) {
            fs::remove_dir_all(self.dir_of(old.step))?;
        }
        Ok(())
    }

    fn is_better(&self, value: f64, than: f64) -> bool {
        match self.greater_is_better {
            true => value > than,
            false => value < than,
        }
    }

    /// The best of an earlier run, up to a step. All others are deleted.
    fn restore(&mut self, last_step: usize) -> Result<(), BoxError> {
        fs::create_dir_all(&self.dir)?;
        self.best = None;
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            let name = name.unwrap_or_default();
            if name.starts_with(".best-") {
                others.push(path);
            } else if let Some(step) = name.strip_prefix(PREFIX) {
                let Ok(step) = step.parse::<usize>() else {
                    continue;
                };
                let bytes = fs::read(path.join(METRIC)).unwrap_or_default();
                let found: Option<BestCheckpoint> = serde_json::from_slice(&bytes).ok();
                let found = found.filter(|found| found.step == step && step <= last_step);
                let is_best = |found: &BestCheckpoint| {
                    let best = self.best.map(|best| best.value);
                    best.is_none_or(|best| self.is_better(found.value, best))
                };
                match found.filter(is_best) {
                    Some(found) => {
                        let old = self.best.replace(found);
                        others.extend(old.map(|old| self.dir_of(old.step)));
                    }
                    None => others.push(path),
                }
            }
        }
        for path in others {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }
}

impl<M> Callback for KeepBest<M>
where
    M: FnMut(usize, &Path) -> Result<f64, BoxError>,
{
    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        self.num_worse = 0;
        self.restore(first_step)
    }

    fn on_checkpoint(&mut self, step: usize, dir: &Path) -> Result<ControlFlow<()>, BoxError> {
        let value = (self.metric)(step, dir)?;
        if value.is_nan() {
            return Err(format!("the metric of {} is not a number", dir.display()).into());
        }
        tracing::info!(step, value, "measured a checkpoint");
        let best = self.best.map(|best| best.value);
        if best.is_none_or(|best| self.is_better(value, best)) {
            self.num_worse = 0;
            self.keep(BestCheckpoint { step, value }, dir)?;
        } else {
            self.num_worse += 1;
        }
        Ok(match self.patience {
            Some(patience) if self.num_worse >= patience => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }
}
