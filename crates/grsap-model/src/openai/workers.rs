use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::abort::{Abort, Ended};
use super::error::OpenAiError;

/// What there is so far.
struct Results<R> {
    done: Vec<Option<R>>,
    /// The failure of the earliest task that has one.
    failure: Option<(usize, OpenAiError)>,
}

/// Works on all tasks, at most `num_threads` at a time, and returns the results in the order of the
/// tasks. At the first failure the others are ended; of several the earliest task's is returned,
/// with its position.
pub(super) fn in_order<T: Sync, R: Send>(
    tasks: &[T],
    num_threads: usize,
    work: impl Fn(&T, &Abort) -> Result<R, Ended> + Sync,
) -> Result<Vec<R>, (usize, OpenAiError)> {
    let next = AtomicUsize::new(0);
    let abort = Abort::default();
    let results = Mutex::new(Results {
        done: tasks.iter().map(|_| None).collect(),
        failure: None,
    });
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        while abort.check().is_ok() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { break };
            match work(task, &abort) {
                Ok(result) => {
                    if let Some(slot) = lock().done.get_mut(index) {
                        *slot = Some(result);
                    }
                }
                Err(Ended::Aborted) => {}
                Err(Ended::Failed(error)) => {
                    abort.set();
                    let mut results = lock();
                    let failure = &mut results.failure;
                    if failure.as_ref().is_none_or(|(other, _)| index < *other) {
                        *failure = Some((index, error));
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..num_threads.min(tasks.len()))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, worker).ok())
            .collect();
        for thread in threads {
            // A task that was not finished is missed below.
            let _ = thread.join();
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = results.failure {
        return Err(failure);
    }
    let missing = |index| {
        let source = "no thread finished the request".into();
        (index, OpenAiError::Connection { source })
    };
    let results = results.done.into_iter().enumerate();
    results
        .map(|(index, result)| result.ok_or_else(|| missing(index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn results_are_in_order_and_few_run_at_a_time() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let tasks: Vec<usize> = (0..100).collect();
        let doubled = in_order(&tasks, 7, |task, _| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(task * 2)
        });
        assert_eq!(doubled.unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
        assert!((1..=7).contains(&most.into_inner()));
        let none: Result<Vec<()>, _> = in_order(&[] as &[()], 7, |(), _| Ok(()));
        assert!(none.unwrap().is_empty());
    }

    #[test]
    fn a_failure_ends_those_that_wait() {
        let tasks = [false, true, false, false];
        let result: Result<Vec<()>, _> = in_order(&tasks, 4, |is_bad, abort| {
            if *is_bad {
                return Err(OpenAiError::Cut.into());
            }
            abort.pause(Duration::from_secs(3600))
        });
        let (index, error) = result.unwrap_err();
        assert!(index == 1 && matches!(error, OpenAiError::Cut));
    }

    #[test]
    fn a_thread_that_dies_is_an_error() {
        let result: Result<Vec<()>, _> = in_order(&[1, 2], 1, |_, _| {
            std::panic::resume_unwind(Box::new("dead"));
        });
        assert_eq!(result.unwrap_err().0, 0);
    }
}
