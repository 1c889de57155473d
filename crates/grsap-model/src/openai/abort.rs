use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::error::OpenAiError;

/// Ends the work on all requests of one call as soon as one has failed.
#[derive(Debug, Default)]
pub(super) struct Abort {
    is_set: Mutex<bool>,
    changed: Condvar,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Ended {
    /// It failed.
    Failed(OpenAiError),
    /// Another one has.
    Aborted,
}

impl From<OpenAiError> for Ended {
    fn from(error: OpenAiError) -> Self {
        Self::Failed(error)
    }
}

impl Abort {
    pub(super) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn check(&self) -> Result<(), Ended> {
        match *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) {
            true => Err(Ended::Aborted),
            false => Ok(()),
        }
    }

    /// Sleeps, but not on when there is nothing to wait for any more.
    pub(super) fn pause(&self, duration: Duration) -> Result<(), Ended> {
        let guard = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(guard, duration, |is_set| !*is_set);
        drop(waited);
        self.check()
    }
}
