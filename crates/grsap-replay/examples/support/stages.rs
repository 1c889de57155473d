//! Results of finished stages, kept in a folder, so that a run that was interrupted goes on from
//! the last one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A folder of finished stages.
pub(crate) struct Stages {
    dir: PathBuf,
    /// Settings that every stage depends on.
    settings: Value,
    seconds: Vec<(String, f64)>,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    settings: Value,
    seconds: f64,
    result: T,
}

impl Stages {
    pub(crate) fn open(dir: &Path, settings: Value) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            settings,
            seconds: Vec::new(),
        })
    }

    /// The kept result of stage `name`, if it was made with the same settings; else what `run`
    /// returns, which is then kept.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self
            .dir
            .join(format!("{}.json", name.replace(['/', ' '], "-")));
        if let Some(kept) = self.kept(&path) {
            self.seconds.push((name.to_owned(), kept.seconds));
            return Ok(kept.result);
        }
        let start = Instant::now();
        let result = run().with_context(|| format!("stage `{name}`"))?;
        let seconds = start.elapsed().as_secs_f64();
        let kept = Kept {
            settings: self.settings.clone(),
            seconds,
            result,
        };
        grsap_replay::data::write_atomic(&path, &serde_json::to_vec(&kept)?)?;
        self.seconds.push((name.to_owned(), seconds));
        Ok(kept.result)
    }

    /// `None` too for a file that cannot be read: the stage then runs again.
    fn kept<T: DeserializeOwned>(&self, path: &Path) -> Option<Kept<T>> {
        let kept: Kept<T> = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (kept.settings == self.settings).then_some(kept)
    }

    /// What each stage took when it ran.
    pub(crate) fn seconds(&self) -> &[(String, f64)] {
        &self.seconds
    }
}
