//! Results of finished stages, kept in a folder, so that a run that was interrupted goes on from
//! the last one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use grsap_replay::core::digest_hex;
use grsap_replay::data::write_atomic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The folder of a run, with its finished stages. It is named after the settings, so that a run
/// with others does not disturb it.
pub(crate) struct Stages {
    dir: PathBuf,
    seconds: Vec<(String, f64)>,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    seconds: f64,
    result: T,
}

impl Stages {
    /// The folder for a run with `settings`, in `out`.
    pub(crate) fn open(out: &Path, settings: &Value) -> Result<Self> {
        let settings = serde_json::to_vec_pretty(settings)?;
        let digest = digest_hex(&settings);
        let dir = out.join(format!("run-{}", digest.get(..8).unwrap_or(&digest)));
        write_atomic(dir.join("settings.json"), &settings)?;
        Ok(Self {
            dir,
            seconds: Vec::new(),
        })
    }

    /// Where the run keeps its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kept result of stage `name`, if there is one; else what `run` returns, which is then
    /// kept.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let file = format!("stages/{}.json", name.replace(['/', ' '], "-"));
        let path = self.dir.join(file);
        if let Some(kept) = read_kept::<T>(&path) {
            println!("{name}: finished before");
            self.seconds.push((name.to_owned(), kept.seconds));
            return Ok(kept.result);
        }
        let start = Instant::now();
        let result = run().with_context(|| format!("stage `{name}`"))?;
        let seconds = start.elapsed().as_secs_f64();
        let kept = Kept { seconds, result };
        write_atomic(&path, &serde_json::to_vec(&kept)?)?;
        self.seconds.push((name.to_owned(), seconds));
        Ok(kept.result)
    }

    /// What each stage took when it ran.
    pub(crate) fn seconds(&self) -> &[(String, f64)] {
        &self.seconds
    }
}

/// `None` too for a file that cannot be read: the stage then runs again.
fn read_kept<T: DeserializeOwned>(path: &Path) -> Option<Kept<T>> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
