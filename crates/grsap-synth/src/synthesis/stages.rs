use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use super::journal::Journal;
use crate::{Candidate, Filtered, Rejected, StageReport};

/// How long each stage took, in earlier runs too whose results are taken from the journal.
pub(super) struct Clock<'a> {
    journal: &'a Journal,
    start: Instant,
    seconds: RefCell<BTreeMap<&'static str, f64>>,
    /// The sum of the above.
    charged: Cell<f64>,
}

impl<'a> Clock<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            start: Instant::now(),
            seconds: RefCell::new(BTreeMap::new()),
            charged: Cell::new(0.0),
        }
    }

    /// Does work for a stage. What it does for another stage meanwhile is not counted for this one.
    pub(super) fn time<T>(&self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let (start, charged) = (self.now(), self.charged.get());
        let result = work();
        let for_others = self.charged.get() - charged;
        let seconds = (self.now() - start - for_others).max(0.0);
        *self.seconds.borrow_mut().entry(stage).or_default() += seconds;
        self.charged.set(self.charged.get() + seconds);
        result
    }

    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64() + self.journal.recalled_seconds()
    }

    fn seconds(&self, stage: &str) -> f64 {
        self.seconds
            .borrow()
            .get(stage)
            .copied()
            .unwrap_or_default()
    }
}

/// What the stages of a run have done so far, in order.
#[derive(Default)]
pub(super) struct Stages(Vec<(StageReport, Vec<Rejected>)>);

impl Stages {
    /// Notes what a stage did, and returns what goes on. A stage may be given its candidates in
    /// parts; only one that is given all of them at once measures scores.
    pub(super) fn add(&mut self, name: &'static str, filtered: Filtered) -> Vec<Candidate> {
        let report = filtered.report(name);
        tracing::info!(
            stage = name,
            kept = report.kept,
            rejected = report.rejected,
            "candidates went through"
        );
        match self.0.iter_mut().find(|(there, _)| there.name == name) {
            Some((there, rejected)) => {
                there.append(report);
                rejected.extend(filtered.rejected);
            }
            None => self.0.push((report, filtered.rejected)),
        }
        filtered.kept
    }

    /// The reports, with times, and all that was dropped, stage by stage.
    pub(super) fn finish(self, clock: &Clock<'_>) -> (Vec<StageReport>, Vec<Rejected>) {
        let (mut reports, rejected): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        for report in &mut reports {
            report.seconds = clock.seconds(&report.name);
        }
        (reports, rejected.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_counted_for_one_stage() {
        let journal = Journal::in_memory();
        let clock = Clock::new(&journal);
        let inner = clock.time("extraction", || {
            clock.time("perplexity", || 1) + clock.time("dedup", || 2)
        });
        clock.time("dedup", || ());
        assert_eq!(inner, 3);
        let sum: f64 = ["extraction", "perplexity", "dedup"]
            .iter()
            .map(|stage| clock.seconds(stage))
            .sum();
        assert!(sum > 0.0 && sum <= clock.now());
        assert!((sum - clock.charged.get()).abs() < 1e-12);
        assert_eq!(clock.seconds("judging"), 0.0);
    }

    #[test]
    fn parts_of_a_stage_add_up() {
        let mut stages = Stages::default();
        for reason in ["blank", "hard", "hard"] {
            let candidate = Candidate::new("0", "d", "q");
            let mut filtered = Filtered::new(
                vec![candidate.clone()],
                vec![Rejected::new("judging", reason, None, candidate)],
            );
            filtered.count("easy", 1);
            assert_eq!(stages.add("judging", filtered).len(), 1);
        }
        let journal = Journal::in_memory();
        let (reports, rejected) = stages.finish(&Clock::new(&journal));
        assert_eq!((reports.len(), rejected.len()), (1, 3));
        assert_eq!((reports[0].kept, reports[0].rejected), (3, 3));
        assert_eq!(
            (reports[0].reasons["hard"], reports[0].counts["easy"]),
            (2, 3)
        );
    }
}
