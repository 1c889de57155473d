use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Rejected, quantile};

/// What a stage did, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// Candidates that went on.
    pub kept: usize,
    /// Candidates that were dropped.
    pub rejected: usize,
    /// How many were dropped for each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Whatever else was counted: "unparsed", "num_tokens".
    pub counts: BTreeMap<String, usize>,
    /// The distribution of what was measured, dropped candidates included.
    pub scores: Option<ScoreSummary>,
    /// The distributions of what was measured besides and decided nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_scores: BTreeMap<String, ScoreSummary>,
    /// Wall time. It is kept out of the serialised form, which is the same for the same seed.
    #[serde(skip)]
    pub seconds: f64,
}

impl StageReport {
    /// What the stage called `name` did, by the scores of the candidates that it kept and by those
    /// that it dropped.
    pub(crate) fn new<'a>(
        name: &str,
        kept: impl Iterator<Item = &'a BTreeMap<String, f64>>,
        rejected: impl Iterator<Item = &'a Rejected>,
        counts: BTreeMap<String, usize>,
    ) -> Self {
        let mut report = Self {
            name: name.to_owned(),
            kept: 0,
            rejected: 0,
            reasons: BTreeMap::new(),
            counts,
            scores: None,
            other_scores: BTreeMap::new(),
            seconds: 0.0,
        };
        let mut scores = Vec::new();
        let mut others: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut besides = |of: &BTreeMap<String, f64>| {
            for (key, score) in of {
                let other = key.strip_prefix(name).and_then(|key| key.strip_prefix('.'));
                if let Some(other) = other {
                    others.entry(other.to_owned()).or_default().push(*score);
                }
            }
        };
        for of in kept {
            report.kept += 1;
            scores.extend(of.get(name));
            besides(of);
        }
        for rejected in rejected {
            report.rejected += 1;
            *report.reasons.entry(rejected.reason.clone()).or_default() += 1;
            scores.extend(rejected.score);
            besides(&rejected.candidate.scores);
        }
        report.scores = ScoreSummary::new(scores);
        let summaries = others.into_iter();
        report.other_scores = summaries
            .filter_map(|(key, scores)| Some((key, ScoreSummary::new(scores)?)))
            .collect();
        report
    }

    /// Adds what the same stage did with other candidates, without scores.
    pub(crate) fn append(&mut self, next: Self) {
        self.kept += next.kept;
        self.rejected += next.rejected;
        let add = |there: &mut BTreeMap<String, usize>, more: BTreeMap<String, usize>| {
            for (what, by) in more {
                *there.entry(what).or_default() += by;
            }
        };
        add(&mut self.reasons, next.reasons);
        add(&mut self.counts, next.counts);
    }
}

/// The distribution of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ScoreSummary {
    /// Finite scores; the others below are over these.
    pub num_scored: usize,
    pub mean: f64,
    pub min: f64,
    pub p05: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p95: f64,
    pub max: f64,
}

impl ScoreSummary {
    /// Sums up the finite `scores`; `None` when there are none.
    pub fn new(mut scores: Vec<f64>) -> Option<Self> {
        scores.retain(|score| score.is_finite());
        scores.sort_by(f64::total_cmp);
        let at = |q| quantile(&scores, q);
        // A running mean does not overflow where the sum of large perplexities would.
        let mean = scores
            .iter()
            .zip(1u32..)
            .fold(0.0, |mean, (score, n)| mean + (score - mean) / f64::from(n));
        Some(Self {
            num_scored: scores.len(),
            mean,
            min: at(0.0)?,
            p05: at(0.05)?,
            p25: at(0.25)?,
            median: at(0.5)?,
            p75: at(0.75)?,
            p95: at(0.95)?,
            max: at(1.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_finite_scores() {
        let scores = vec![3.0, f64::NAN, 1.0, 2.0, f64::INFINITY, 4.0];
        let summary = ScoreSummary::new(scores).unwrap();
        assert_eq!(summary.num_scored, 4);
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 2.5, 4.0));
        assert_eq!(summary.mean, 2.5);
        assert_eq!(ScoreSummary::new(vec![f64::NAN]), None);
        assert_eq!(ScoreSummary::new(vec![]), None);
        let huge = ScoreSummary::new(vec![f64::MAX, f64::MAX]).unwrap();
        assert_eq!(huge.mean, f64::MAX);
    }
}
