use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::callback::{BoxError, Callback};
use super::checkpoint::copy_model;

/// The [`Measured`] of a run.
const MEASURED: &str = "best.json";
const PREFIX: &str = "best-";
const HIDDEN_PREFIX: &str = ".best-";

/// The best checkpoint so far, with its metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    /// After this step.
    pub step: usize,
    /// The metric of its adapter.
    pub value: f64,
}

/// What was measured, in order of the steps.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    metric: String,
    checkpoints: Vec<BestCheckpoint>,
}

/// Measures every checkpoint, keeps the adapter (or the model) of the best one, and can end a run that no longer
/// gets better.
///
/// The adapter is in `best-<step>`, apart from the checkpoints, so that their number can be limited.
/// What was measured is in `best.json`: a run that continues remembers it, and its patience. The other
/// callbacks are told, so [`TensorBoard`](crate::TensorBoard) has it as `eval/<name>`. A run from
/// the start is refused where an earlier one has measured: its best adapter would be lost.
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
    name: String,
    greater_is_better: bool,
    patience: Option<usize>,
    measured: Vec<BestCheckpoint>,
    /// Steps whose folders are this callback's.
    known: BTreeSet<usize>,
}

impl<M> KeepBest<M>
where
    M: FnMut(usize, &Path) -> Result<f64, BoxError>,
{
    /// Keeps the adapter with the lowest metric, in a folder below `dir`. The metric is given the
    /// step and the directory of each checkpoint; what it gives must be finite.
    pub fn lowest(dir: impl Into<PathBuf>, metric: M) -> Self {
        Self {
            dir: dir.into(),
            metric,
            name: "metric".to_owned(),
            greater_is_better: false,
            patience: None,
            measured: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// The same with the highest metric.
    pub fn highest(dir: impl Into<PathBuf>, metric: M) -> Self {
        Self {
            greater_is_better: true,
            ..Self::lowest(dir, metric)
        }
    }

    /// What the metric is called where it is written down; `metric` without this. Two metrics need a
    /// folder each.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Ends the run after so many checkpoints in a row that are not better, at least one.
    #[must_use]
    pub fn with_patience(mut self, patience: usize) -> Self {
        self.patience = Some(patience.max(1));
        self
    }

    /// The best checkpoint so far; of equal ones the first.
    pub fn best(&self) -> Option<BestCheckpoint> {
        let measured = self.measured.iter().copied();
        measured.reduce(|best, next| {
            let is_better = match self.greater_is_better {
                true => next.value > best.value,
                false => next.value < best.value,
            };
            if is_better { next } else { best }
        })
    }

    /// Where its adapter is.
    pub fn best_dir(&self) -> Option<PathBuf> {
        self.best().map(|best| self.dir_of(best.step))
    }

    fn dir_of(&self, step: usize) -> PathBuf {
        self.dir.join(format!("{PREFIX}{step}"))
    }

    /// Copies the adapter of a checkpoint.
    fn keep(&self, step: usize, checkpoint: &Path) -> Result<(), BoxError> {
        let hidden = tempfile::Builder::new()
            .prefix(HIDDEN_PREFIX)
            .tempdir_in(&self.dir)?;
        copy_model(checkpoint, hidden.path())?;
        let target = self.dir_of(step);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(hidden.keep(), &target)?;
        Ok(())
    }

    /// What an earlier run measured here.
    fn load_measured(&self) -> Result<Vec<BestCheckpoint>, BoxError> {
        let path = self.dir.join(MEASURED);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes?,
        };
        let path = path.display();
        let found: Measured =
            serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?;
        if found.metric != self.name {
            return Err(format!(
                "{path} is of the metric `{}`: `{}` needs another directory",
                found.metric, self.name
            )
            .into());
        }
        Ok(found.checkpoints)
    }

    fn save_measured(&self) -> Result<(), BoxError> {
        self.load_measured()?; // another metric's is not replaced
        let json = serde_json::to_vec_pretty(&Measured {
            metric: self.name.clone(),
            checkpoints: self.measured.clone(),
        })?;
        grsap_core::write_atomic(self.dir.join(MEASURED), &json)?;
        Ok(())
    }

    /// Deletes the adapters of all known steps but the best one. Nothing else: not all in the directory
    /// need be this callback's.
    fn delete_others(&mut self) -> Result<(), BoxError> {
        let best = self.best().map(|best| best.step);
        for &step in self.known.iter().filter(|step| Some(**step) != best) {
            match fs::remove_dir_all(self.dir_of(step)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        self.known.retain(|step| Some(*step) == best);
        Ok(())
    }

    /// Checkpoints since the best one.
    fn num_worse(&self) -> usize {
        let best = self.best().map(|best| best.step);
        let later = self.measured.iter().rev();
        later.take_while(|one| Some(one.step) != best).count()
    }
}

impl<M> Callback for KeepBest<M>
where
    M: FnMut(usize, &Path) -> Result<f64, BoxError>,
{
    fn may_start(&self, first_step: usize) -> Result<(), BoxError> {
        let measured = self.load_measured()?;
        if first_step == 0 && !measured.is_empty() {
            let dir = self.dir.display();
            return Err(format!(
                "{dir} has the best checkpoint of an earlier run: continue that one, or name another \
                 directory"
            )
            .into());
        }
        Ok(())
    }

    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        fs::create_dir_all(&self.dir)?;
        // What a killed run left half-written.
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(HIDDEN_PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        self.measured = self.load_measured()?;
        self.known = self.measured.iter().map(|one| one.step).collect();
        self.measured.retain(|one| one.step <= first_step);
        // A run that goes on from an older checkpoint may have lost the adapter that was best then.
        while let Some(best) = self.best()
            && !self.dir_of(best.step).is_dir()
        {
            self.measured.retain(|one| *one != best);
        }
        Ok(())
    }

    fn on_checkpoint(&mut self, step: usize, dir: &Path) -> Result<ControlFlow<()>, BoxError> {
        if self.measured.iter().all(|one| one.step != step) {
            let value = (self.metric)(step, dir)?;
            if !value.is_finite() {
                return Err(format!("the metric of {} is {value}", dir.display()).into());
            }
            tracing::info!(step, value, "measured a checkpoint");
            self.measured.push(BestCheckpoint { step, value });
            self.known.insert(step);
            // In this order a kill leaves an adapter too many. The run goes on from this checkpoint and
            // measures it once more, or comes to it again.
            if self.num_worse() == 0 {
                self.keep(step, dir)?;
            }
        }
        self.save_measured()?;
        self.delete_others()?;
        Ok(match self.patience {
            Some(patience) if self.num_worse() >= patience => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }

    fn measured(&self, step: usize) -> Vec<(String, f64)> {
        let measured = self.measured.iter().filter(|one| one.step == step);
        measured.map(|one| (self.name.clone(), one.value)).collect()
    }
}
