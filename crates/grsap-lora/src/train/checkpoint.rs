use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use grsap_model::{Decoder, LoadError, SaveError};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::adamw::AdamWConfig;
use super::error::TrainError;
use super::run_identity::RunIdentity;
use super::state::{State, Totals, matrices, set};
use super::state_file;
use super::trainable::Trainable;
use crate::adapter::{ADAPTER_CONFIG, ADAPTER_MODEL, AdapterError};

const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const PREFIX: &str = "checkpoint-";
/// Of directories that are being written or deleted.
const HIDDEN_PREFIX: &str = ".checkpoint-";
/// Locked while a run writes into the directory.
const LOCK: &str = ".lock";

/// A checkpoint could not be written, read or continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It was made by a run with another configuration, other data or another model.
    #[error(
        "{}: {field} is {saved} there and {current} in this run; continue with what it was, or train \
         into another directory{}",
        dir.display(),
        advice(field)
    )]
    Mismatch {
        /// The checkpoint.
        dir: PathBuf,
        /// The first field that differs.
        field: String,
        /// Its value in the checkpoint.
        saved: String,
        /// Its value in this run.
        current: String,
    },
    /// Its state is not what a run writes.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system said no.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A run was to begin where an earlier one has left checkpoints, which it would replace.
    #[error(
        "{} is of an earlier run: continue that run with `Resume::Latest`, or train into another \
         directory",
        checkpoint.display()
    )]
    Occupied {
        /// The newest of them.
        checkpoint: PathBuf,
    },
    /// Another run writes checkpoints there.
    #[error("{}: another run writes checkpoints into this directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A parameter, or what the optimiser keeps of it, is NaN or infinite. No checkpoint was made.
    #[error("{tensor} has numbers that are not finite: no checkpoint is written of it")]
    NonFinite {
        /// The tensor.
        tensor: String,
    },
    /// Its adapter could not be written or read.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Its weights could not be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// Its optimiser state could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl CheckpointError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The content of `trainer_state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainerState {
    global_step: usize,
    run: RunIdentity,
    totals: Totals,
}

/// The directory of a run's checkpoints.
pub(super) struct CheckpointDir<'a> {
    pub(super) output_dir: &'a Path,
    pub(super) trainable: &'a dyn Trainable,
    pub(super) base_model: Option<&'a str>,
    pub(super) identity: RunIdentity,
}

/// Keeps other runs out of an output directory as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl CheckpointDir<'_> {
    /// Makes the directory where there is none, and takes it for this run.
    pub(super) fn lock(&self) -> Result<Lock, CheckpointError> {
        let dir = self.output_dir;
        fs::create_dir_all(dir).map_err(CheckpointError::io(dir))?;
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(CheckpointError::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(CheckpointError::InUse { dir: dir.into() }),
            Err(TryLockError::Error(error)) => {
                // Some network file systems have no locks.
                tracing::warn!(%error, "{} cannot be locked against other runs", dir.display());
                Ok(Lock { _file: file })
            }
            Ok(()) => Ok(Lock { _file: file }),
        }
    }

    /// Writes `checkpoint-<step>` beside its final place and renames it.
    pub(super) fn save(&self, decoder: &Decoder, state: &State) -> Result<PathBuf, TrainError> {
        let step = state.optimizer.num_steps();
        let hidden = self.hidden_dir()?;
        let dir = hidden.path();
        let finished = state.finished(decoder, self.trainable)?;
        self.trainable.save(&finished, self.base_model, dir)?;
        drop(finished);
        let parameters = matrices(decoder, self.trainable);
        state_file::write(
            &dir.join(OPTIMIZER),
            &self.names(decoder),
            &parameters,
            state,
        )?;
        let trainer_state = TrainerState {
            global_step: step,
            run: self.identity.clone(),
            totals: state.totals.clone(),
        };
        let path = dir.join(STATE);
        let json =
            serde_json::to_string_pretty(&trainer_state).map_err(|e| CheckpointError::Invalid {
                path: path.clone(),
                reason: e.to_string(),
            })?;
        write(&path, format!("{json}\n").as_bytes())?;
        let target = self.dir_of(step);
        if target.exists() {
            self.delete(&target)?;
        }
        fs::rename(hidden.keep(), &target).map_err(CheckpointError::io(&target))?;
        Ok(target)
    }

    /// Deletes the oldest up to a step beyond `limit`.
    pub(super) fn prune(&self, step: usize, limit: Option<usize>) -> Result<(), CheckpointError> {
        let Some(limit) = limit else {
            return Ok(());
        };
        // Those of later steps are of an earlier run; they are not this one's to delete.
        let mut all = checkpoints(self.output_dir)?;
        all.retain(|(other, _)| *other <= step);
        for (_, old) in all.iter().rev().skip(limit) {
            self.delete(old)?;
        }
        Ok(())
    }

    pub(super) fn dir_of(&self, step: usize) -> PathBuf {
        self.output_dir.join(format!("{PREFIX}{step}"))
    }

    fn names(&self, decoder: &Decoder) -> Vec<String> {
        let parameters = self.trainable.parameters(decoder).into_iter();
        parameters.map(|(name, _)| name).collect()
    }

    /// Puts the parameters of the newest checkpoint on the decoder, and gives the rest of its state. One
    /// of another run is an error.
    pub(super) fn resume(
        &self,
        decoder: &mut Decoder,
        config: AdamWConfig,
        has_average: bool,
    ) -> Result<Option<State>, TrainError> {
        let Some((step, dir)) = latest_checkpoint(self.output_dir)? else {
            return Ok(None);
        };
        let state = self.state_of(&dir)?;
        if state.global_step != step || state.totals.losses.len() != step {
            let reason = format!(
                "global_step is {} with {} losses, expected {step}",
                state.global_step,
                state.totals.losses.len()
            );
            let path = dir.join(STATE);
            return Err(CheckpointError::Invalid { path, reason }.into());
        }
        let (values, state) = state_file::read_back(
            &dir.join(OPTIMIZER),
            &self.names(decoder),
            &matrices(decoder, self.trainable),
            (config, step, has_average),
            state.totals,
        )?;
        // Last, so that a checkpoint that is refused leaves the decoder as it was.
        set(decoder, self.trainable, values)?;
        Ok(Some(state))
    }

    fn state_of(&self, dir: &Path) -> Result<TrainerState, CheckpointError> {
        let path = dir.join(STATE);
        let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
        let state: TrainerState =
            serde_json::from_slice(&bytes).map_err(|e| CheckpointError::Invalid {
                path,
                reason: format!("{e}; without this directory a run continues from an older one"),
            })?;
        match state.run.difference(&self.identity) {
            None => Ok(state),
            Some((field, saved, current)) => Err(CheckpointError::Mismatch {
                dir: dir.to_owned(),
                field,
                saved,
                current,
            }),
        }
    }

    /// That no checkpoints are there.
    pub(super) fn must_be_free(&self) -> Result<(), CheckpointError> {
        match checkpoints(self.output_dir)?.pop() {
            Some((_, checkpoint)) => Err(CheckpointError::Occupied { checkpoint }),
            None => Ok(()),
        }
    }

    /// Deletes what killed runs left half-written.
    pub(super) fn clean(&self) -> Result<(), CheckpointError> {
        for entry in entries(self.output_dir)? {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(HIDDEN_PREFIX) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(CheckpointError::io(&path))?;
            }
        }
        Ok(())
    }

    fn hidden_dir(&self) -> Result<TempDir, CheckpointError> {
        let failed = || CheckpointError::io(self.output_dir);
        fs::create_dir_all(self.output_dir).map_err(failed())?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(HIDDEN_PREFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        builder.tempdir_in(self.output_dir).map_err(failed())
    }

    /// Hides a checkpoint first, so that a kill leaves none without some of its files.
    fn delete(&self, dir: &Path) -> Result<(), CheckpointError> {
        let hidden = self.hidden_dir()?;
        fs::rename(dir, hidden.path().join("deleted")).map_err(CheckpointError::io(dir))?;
        hidden.close().map_err(CheckpointError::io(dir))
    }
}

/// The newest complete checkpoint in a directory, with its step, of whatever run. Directories that lack
/// one of a checkpoint's files are passed over.
///
/// # Errors
///
/// When the directory is there but cannot be read.
pub fn latest_checkpoint(
    output_dir: impl AsRef<Path>,
) -> Result<Option<(usize, PathBuf)>, CheckpointError> {
    Ok(complete_checkpoints(output_dir.as_ref())?.pop())
}

/// Checkpoints that lack none of their files, by step.
fn complete_checkpoints(output_dir: &Path) -> Result<Vec<(usize, PathBuf)>, CheckpointError> {
    let has = |dir: &Path, names: &[&str]| names.iter().all(|name| dir.join(name).is_file());
    let mut all = checkpoints(output_dir)?;
    all.retain(|(_, dir)| {
        has(dir, &[OPTIMIZER, STATE])
            && (has(dir, &[ADAPTER_CONFIG, ADAPTER_MODEL]) || has(dir, &["config.json"]))
    });
    Ok(all)
}

/// Directories named as checkpoints, by step.
fn checkpoints(output_dir: &Path) -> Result<Vec<(usize, PathBuf)>, CheckpointError> {
    let mut found = Vec::new();
    for entry in entries(output_dir)? {
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(step) = step.and_then(|step| step.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>, CheckpointError> {
    match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(Iterator::collect)
            .map_err(CheckpointError::io(dir)),
    }
}

/// Copies what people load of a checkpoint into another directory.
pub(super) fn copy_model(checkpoint: &Path, to: &Path) -> Result<(), CheckpointError> {
    for entry in entries(checkpoint)? {
        let name = entry.file_name();
        if name != STATE && name != OPTIMIZER {
            let path = entry.path();
            fs::copy(&path, to.join(name)).map_err(CheckpointError::io(&path))?;
        }
    }
    Ok(())
}

/// What a field that was not set by hand comes from.
fn advice(field: &str) -> &'static str {
    match field {
        "initial_parameters_sha256" => " (is `attach` given the seed that it had?)",
        _ => "",
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    grsap_core::write_atomic(path, bytes).map_err(CheckpointError::io(path))
}
