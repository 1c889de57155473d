use std::collections::BTreeMap;

use crate::{Candidate, Rejected, StageReport};

/// What a stage kept and what it dropped. Together they are what it was given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filtered {
    /// The candidates that go on, in their order.
    pub kept: Vec<Candidate>,
    /// The others, with reasons.
    pub rejected: Vec<Rejected>,
    /// Whatever else the stage counted.
    pub counts: BTreeMap<String, usize>,
}

impl Filtered {
    /// Kept and dropped candidates, nothing else counted.
    pub fn new(kept: Vec<Candidate>, rejected: Vec<Rejected>) -> Self {
        Self {
            kept,
            rejected,
            counts: BTreeMap::new(),
        }
    }

    /// Adds `by` to a count.
    pub fn count(&mut self, what: &str, by: usize) {
        *self.counts.entry(what.to_owned()).or_default() += by;
    }

    /// Adds what the same stage did with the candidates that came after these.
    pub fn append(&mut self, next: Self) {
        self.kept.extend(next.kept);
        self.rejected.extend(next.rejected);
        for (what, by) in next.counts {
            *self.counts.entry(what).or_default() += by;
        }
    }

    /// The report of the stage called `name`, over kept and dropped candidates alike.
    ///
    /// Scores under names like `name.more` are what the stage measured besides.
    pub fn report(&self, name: &str) -> StageReport {
        let kept = self.kept.iter().map(|candidate| &candidate.scores);
        StageReport::new(name, kept, self.rejected.iter(), self.counts.clone())
    }
}
