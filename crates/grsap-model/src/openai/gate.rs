use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::abort::{Abort, Ended};

/// Holds all requests back while the server has asked to wait: its limits are for a key, not for a
/// connection.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed_until: Mutex<Option<Instant>>,
}

impl Gate {
    /// Closes the gate for so long, or leaves it closed for longer.
    pub(super) fn close_for(&self, wait: Duration) {
        let until = Instant::now().checked_add(wait);
        let mut closed = self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(until);
    }

    /// Waits until the gate is open.
    pub(super) fn pass(&self, abort: &Abort) -> Result<(), Ended> {
        abort.check()?;
        while let Some(wait) = self.wait() {
            abort.pause(wait)?;
        }
        Ok(())
    }

    fn wait(&self) -> Option<Duration> {
        let closed = self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let wait = (*closed)?.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts_and_an_abort_ends_it() {
        let (gate, abort) = (Gate::default(), Abort::default());
        gate.pass(&abort).unwrap();
        gate.close_for(Duration::from_secs(3600));
        gate.close_for(Duration::from_secs(1));
        assert!(gate.wait().is_some_and(|wait| wait.as_secs() > 3000));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass(&abort));
            abort.set();
            assert!(matches!(waiting.join().unwrap(), Err(Ended::Aborted)));
        });
        let open = Gate::default();
        open.close_for(Duration::ZERO);
        open.pass(&Abort::default()).unwrap();
    }
}
