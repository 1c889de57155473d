use std::sync::Arc;

/// Told how far a long task is. The unit type `()` is the silent one.
///
/// Tasks do not nest: `start`, perhaps `resume`, any number of `advance`, `finish`.
pub trait Progress: Send + Sync {
    /// A task of `total` units begins.
    fn start(&self, task: &str, total: usize);
    /// `units` more are done.
    fn advance(&self, units: usize);
    /// `units` were done before the task began, by a run that this one goes on with: they count as
    /// done, but say nothing of how fast it is.
    fn resume(&self, units: usize) {
        self.advance(units);
    }
    /// A few words on how the task stands, in place of earlier ones.
    fn note(&self, text: &str) {
        let _ = text;
    }
    /// The task is over.
    fn finish(&self);
}

impl Progress for () {
    fn start(&self, _task: &str, _total: usize) {}
    fn advance(&self, _units: usize) {}
    fn finish(&self) {}
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<T: Progress + ?Sized> Progress for $wrapper {
            fn start(&self, task: &str, total: usize) {
                (**self).start(task, total);
            }

            fn advance(&self, units: usize) {
                (**self).advance(units);
            }

            fn resume(&self, units: usize) {
                (**self).resume(units);
            }

            fn note(&self, text: &str) {
                (**self).note(text);
            }

            fn finish(&self) {
                (**self).finish();
            }
        }
    )*};
}
forward!(&T, Box<T>, Arc<T>);
