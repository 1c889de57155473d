use std::collections::BTreeMap;

use crate::{Candidate, Rejected, ScoreSummary, StageReport};

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

    /// The report of the stage called `name`, over kept and dropped candidates alike.
    pub fn report(&self, name: &str) -> StageReport {
        let mut reasons = BTreeMap::new();
        for rejected in &self.rejected {
            *reasons.entry(rejected.reason.clone()).or_default() += 1;
        }
        let kept = self.kept.iter().filter_map(|c| c.scores.get(name).copied());
        let rejected = self.rejected.iter().filter_map(|r| r.score);
        StageReport {
            name: name.to_owned(),
            kept: self.kept.len(),
            rejected: self.rejected.len(),
            reasons,
            counts: self.counts.clone(),
            scores: ScoreSummary::new(kept.chain(rejected).collect()),
            seconds: 0.0,
        }
    }
}
