#![allow(clippy::print_stderr)] // that is what it is for

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use grsap_core::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines about one task, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// A [`Progress`] for people, on stderr: a bar on a terminal, elsewhere a line every twenty seconds. Both
/// say what is done, how long it took and what is left.
///
/// # Examples
///
/// ```
/// use grsap_replay::prelude::*;
///
/// let bars = Bars::new();
/// // Loss, tokens a second and the time that is left, while a trainer trains.
/// let shown = ShowProgress::new(&bars, "fine-tune");
/// ```
pub struct Bars {
    as_lines: bool,
    task: Mutex<Option<Task>>,
}

struct Task {
    name: String,
    total: usize,
    done: usize,
    /// Of these, before it began.
    resumed: usize,
    started: Instant,
    last_line: Instant,
    note: String,
    bar: Option<ProgressBar>,
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Bars {
    /// Bars if stderr is a terminal, else lines.
    pub fn new() -> Self {
        Self {
            as_lines: !stderr().is_terminal(),
            task: Mutex::new(None),
        }
    }

    /// Prints `text` without tearing a bar.
    pub fn say(&self, text: &str) {
        match self.lock().as_ref().and_then(|task| task.bar.as_ref()) {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn start(&self, task: &str, total: usize) {
        self.finish();
        let bar = (!self.as_lines).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            bar.set_style(style(total));
            bar.set_message(task.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("{task} ...");
        }
        let now = Instant::now();
        *self.lock() = Some(Task {
            name: task.to_owned(),
            total,
            done: 0,
            resumed: 0,
            started: now,
            last_line: now,
            note: String::new(),
            bar,
        });
    }

    fn advance(&self, units: usize) {
        if let Some(task) = self.lock().as_mut() {
            task.done += units;
            match &task.bar {
                Some(bar) => bar.inc(units as u64),
                None if task.last_line.elapsed() >= LINE_EVERY => {
                    task.last_line = Instant::now();
                    eprintln!("{}", line(task));
                }
                None => {}
            }
        }
    }

    fn resume(&self, units: usize) {
        if let Some(task) = self.lock().as_mut() {
            task.done += units;
            task.resumed += units;
            if let Some(bar) = &task.bar {
                bar.inc(units as u64);
                bar.reset_eta();
            }
        }
    }

    fn note(&self, text: &str) {
        if let Some(task) = self.lock().as_mut() {
            text.clone_into(&mut task.note);
            if let Some(bar) = &task.bar {
                bar.set_message(format!("{}, {text}", task.name));
            }
        }
    }

    fn finish(&self) {
        if let Some(task) = self.lock().take() {
            let seconds = task.started.elapsed().as_secs_f64();
            if let Some(bar) = &task.bar {
                bar.finish_and_clear();
            }
            // On both: what was done stays to be read.
            eprintln!("{}: {seconds:.1} s", task.name);
        }
    }
}

/// Short tasks of many units are downloads, counted in bytes.
fn style(total: usize) -> ProgressStyle {
    let template = if total == 0 {
        "{spinner} {msg} {pos} [{elapsed}]"
    } else if total > 100_000 {
        "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} [{elapsed}, {eta} left]"
    } else {
        "{spinner} {msg} [{bar:30}] {pos}/{len} [{elapsed}, {eta} left]"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// "align: 120 of 500 (24%), 63 s, about 200 s left"
fn line(task: &Task) -> String {
    let seconds = task.started.elapsed().as_secs_f64();
    let mut line = format!("{}: {}", task.name, task.done);
    if task.total > 0 {
        let done = task.done as f64 / task.total as f64;
        line += &format!(" of {} ({:.0}%), {seconds:.0} s", task.total, 100.0 * done);
        let now = task.done - task.resumed;
        if now > 0 && task.done <= task.total {
            let left = seconds / now as f64 * (task.total - task.done) as f64;
            line += &format!(", about {left:.0} s left");
        }
    }
    if !task.note.is_empty() {
        line += &format!(", {}", task.note);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(done: usize, total: usize) -> Task {
        let now = Instant::now();
        Task {
            name: "align".into(),
            total,
            done,
            resumed: 0,
            started: now,
            last_line: now,
            note: String::new(),
            bar: None,
        }
    }

    #[test]
    fn lines_say_how_far_it_is() {
        assert_eq!(
            line(&task(1, 4)),
            "align: 1 of 4 (25%), 0 s, about 0 s left"
        );
        // Nothing done: no guess. No total: no share.
        assert_eq!(line(&task(0, 4)), "align: 0 of 4 (0%), 0 s");
        assert_eq!(line(&task(3, 0)), "align: 3");
        let noted = Task {
            note: "loss 2.1".into(),
            ..task(3, 0)
        };
        assert_eq!(line(&noted), "align: 3, loss 2.1");
    }

    #[test]
    fn what_an_earlier_run_did_says_nothing_of_the_time_left() {
        let ten_seconds_ago = Instant::now().checked_sub(Duration::from_secs(10));
        let resumed = Task {
            resumed: 80,
            started: ten_seconds_ago.unwrap(),
            ..task(90, 100)
        };
        assert_eq!(
            line(&resumed),
            "align: 90 of 100 (90%), 10 s, about 10 s left"
        );
    }

    #[test]
    fn calls_in_any_order_are_harmless() {
        let bars = Bars::new();
        bars.advance(1);
        bars.finish();
        bars.start("one", 0);
        bars.start("two", 2);
        bars.advance(5);
        bars.say("meanwhile");
        bars.finish();
        bars.finish();
        assert!(bars.lock().is_none());
    }

    #[test]
    fn every_style_is_a_valid_template() {
        for total in [0, 10, 1_000_000] {
            style(total);
        }
        assert!(ProgressStyle::with_template("{spinner} {msg} {pos} [{elapsed}]").is_ok());
    }
}
