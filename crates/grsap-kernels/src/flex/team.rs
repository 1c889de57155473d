//! Threads that share the tasks of one small job at a time.
//!
//! A decoding step is some two hundred products of 10 to 100 microseconds. Waking a thread that
//! sleeps takes about as long, so a pool whose threads sleep between two products gains little from
//! them. Here a thread that has run out of tasks looks out for the next job for a moment before it
//! sleeps, the caller does tasks itself, and it never waits for a thread that has not come.

#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// How long a helper looks out for a job before it sleeps.
const PATIENCE: Duration = Duration::from_micros(200);

/// Looks between two glances at the clock.
const LOOKS: usize = 64;

/// Runs `task` for every number below `num_tasks`, in any order, on as many threads as rayon has.
///
/// While another thread has the team, and within a task, rayon's threads serve.
///
/// # Panics
///
/// When a task does.
pub(super) fn run(num_tasks: usize, task: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads().min(num_tasks);
    if threads < 2 {
        (0..num_tasks).for_each(task);
        return;
    }
    let Ok(mut team) = TEAM.try_lock() else {
        (0..num_tasks).into_par_iter().for_each(&task);
        return;
    };
    let panic = team.run(threads - 1, num_tasks, &task);
    drop(team);
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// The same for consecutive parts of `values`, `size` numbers each but for the last: `task` gets a
/// part's number and the part.
pub(super) fn run_parts<T: Send>(
    values: &mut [T],
    size: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let (len, size) = (values.len(), size.max(1));
    let first = Parts(values.as_mut_ptr());
    run(len.div_ceil(size), |index| {
        let from = index * size;
        // SAFETY: the parts lie in `values`, which is borrowed, and no two of them overlap; every
        // number is given out once.
        let part = unsafe { std::slice::from_raw_parts_mut(first.at(from), size.min(len - from)) };
        task(index, part);
    });
}

/// Where the parts of a slice begin.
struct Parts<T>(*mut T);
// SAFETY: `run_parts` gives every thread parts of its own, of a type that may be sent.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// # Safety
    ///
    /// `offset` lies within the slice.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: by the caller's word.
        unsafe { self.0.add(offset) }
    }
}

static TEAM: Mutex<Team> = Mutex::new(Team {
    helpers: Vec::new(),
    board: None,
});

struct Team {
    helpers: Vec<Helper>,
    board: Option<Arc<Board>>,
}

struct Helper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

type Panic = Box<dyn Any + Send>;

/// What the helpers look at.
#[derive(Default)]
struct Board {
    /// [`OPEN`], how many more helpers may join, how many have and are not done, and the number of
    /// the job.
    state: AtomicU64,
    /// The [`Job`], which lives until nobody is in it.
    job: AtomicPtr<()>,
}

const OPEN: u64 = 1;
/// One more helper may join: 15 bits.
const PLACE: u64 = 1 << 1;
const PLACES: u64 = 0x7FFF * PLACE;
/// One helper is in the job: 16 bits.
const INSIDE: u64 = 1 << 16;
const ALL_INSIDE: u64 = 0xFFFF * INSIDE;
/// The next job's number: the rest.
const NUMBER: u64 = 1 << 32;

struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    num_tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Panic>>,
}

impl Job<'_> {
    /// Does tasks until none is left.
    fn work(&self) {
        let run = || {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= self.num_tasks {
                    break;
                }
                (self.task)(index);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            self.next.store(self.num_tasks, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    fn into_panic(self) -> Option<Panic> {
        let panic = self.panic.into_inner();
        panic.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Team {
    /// Runs all tasks; gives what one of them panicked with.
    fn run(
        &mut self,
        num_helpers: usize,
        num_tasks: usize,
        task: &(dyn Fn(usize) + Sync),
    ) -> Option<Panic> {
        let num_helpers = self.hire(num_helpers);
        let job = Job {
            task,
            num_tasks,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        let Some(board) = &self.board else {
            job.work();
            return job.into_panic();
        };
        let address = (&raw const job).cast_mut().cast();
        board.job.store(address, Ordering::Relaxed);
        // Nobody is inside here. The order is that of all changes of `state` and `asleep`: either a
        // helper sees the job before it sleeps, or it is seen asleep.
        let before = board.state.load(Ordering::Relaxed);
        let number = (before & !(NUMBER - 1)).wrapping_add(NUMBER);
        let open = number | OPEN | (num_helpers as u64 * PLACE);
        board.state.store(open, Ordering::SeqCst);
        for helper in self.helpers.iter().take(num_helpers) {
            if helper.asleep.load(Ordering::SeqCst) {
                helper.asleep.store(false, Ordering::SeqCst);
                helper.thread.unpark();
            }
        }
        job.work();
        // Closed: whoever is inside finishes, nobody else comes in.
        board.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0;
        while board.state.load(Ordering::Acquire) & ALL_INSIDE != 0 {
            pause(&mut looks);
        }
        job.into_panic()
    }

    /// Sees to it that there are `num` helpers, or as many as the system gives.
    fn hire(&mut self, num: usize) -> usize {
        let num = num.min((PLACES / PLACE) as usize);
        while self.helpers.len() < num {
            let board = Arc::clone(self.board.get_or_insert_default());
            let asleep = Arc::new(AtomicBool::new(false));
            let sleeper = Arc::clone(&asleep);
            let name = format!("grsap-{}", self.helpers.len() + 1);
            let spawned = std::thread::Builder::new()
                .name(name)
                .spawn(move || help(&board, &sleeper));
            let Ok(handle) = spawned else { break };
            self.helpers.push(Helper {
                thread: handle.thread().clone(),
                asleep,
            });
        }
        num.min(self.helpers.len())
    }
}

/// Lets other work of this processor go on.
fn pause(looks: &mut usize) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// What a helper does, for ever.
fn help(board: &Board, asleep: &AtomicBool) {
    let mut last = 0;
    let mut looks = 0;
    let mut since = Instant::now();
    loop {
        let state = board.state.load(Ordering::SeqCst);
        let number = state / NUMBER;
        if state & OPEN != 0 && number != last && state & PLACES != 0 {
            let joined = state - PLACE + INSIDE;
            let order = (Ordering::SeqCst, Ordering::Relaxed);
            let exchanged = board
                .state
                .compare_exchange(state, joined, order.0, order.1);
            if exchanged.is_ok() {
                last = number;
                let job = board.job.load(Ordering::Relaxed).cast::<Job<'_>>();
                // SAFETY: the address was stored before the job was opened, and its owner waits
                // until nobody is inside.
                unsafe { (*job).work() };
                board.state.fetch_sub(INSIDE, Ordering::SeqCst);
                (looks, since) = (0, Instant::now());
            }
            continue;
        }
        pause(&mut looks);
        if looks.is_multiple_of(LOOKS) && since.elapsed() > PATIENCE {
            asleep.store(true, Ordering::SeqCst);
            let state = board.state.load(Ordering::SeqCst);
            if state & OPEN == 0 || state / NUMBER == last {
                while asleep.load(Ordering::SeqCst) {
                    std::thread::park();
                }
            }
            asleep.store(false, Ordering::SeqCst);
            since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(work)
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            with_threads(threads, || {
                for num_tasks in (0..40).chain([1000]) {
                    let counts: Vec<AtomicUsize> = (0..num_tasks).map(|_| 0.into()).collect();
                    run(num_tasks, |index| {
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    });
                    let all_once = counts.iter().all(|c| c.load(Ordering::Relaxed) == 1);
                    assert!(all_once, "{threads} threads, {num_tasks} tasks");
                }
            });
        }
    }

    #[test]
    fn jobs_within_and_beside_jobs_are_done() {
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        run(7, |i| {
                            run(5, |j| {
                                sum.fetch_add(i * j, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 21 * 10);
    }

    #[test]
    fn sleepers_are_woken() {
        with_threads(3, || {
            for _ in 0..20 {
                std::thread::sleep(2 * PATIENCE);
                let count = AtomicUsize::new(0);
                run(30, |_| {
                    std::thread::sleep(PATIENCE / 10);
                    count.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(count.into_inner(), 30);
            }
        });
    }

    #[test]
    fn parts_cover_the_slice() {
        with_threads(4, || {
            for len in [0, 1, 9, 10, 11, 100] {
                let mut values = vec![0; len];
                run_parts(&mut values, 10, |index, part| {
                    for (at, value) in part.iter_mut().enumerate() {
                        *value += index * 10 + at + 1;
                    }
                });
                assert!(
                    values
                        .iter()
                        .enumerate()
                        .all(|(at, &value)| value == at + 1)
                );
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        with_threads(4, || {
            for bad in [0, 17, 99] {
                let ran = catch_unwind(|| run(100, |index| assert!(index != bad, "task {bad}")));
                assert!(ran.is_err());
                let count = AtomicUsize::new(0);
                run(50, |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(count.into_inner(), 50);
            }
        });
    }
}
