use grsap_core::{Exchange, Guard, Progress, Safety};
use grsap_data::Difficulty;
use serde::{Deserialize, Serialize};

use crate::batch::{Batches, CHUNK_SIZE};
use crate::{Candidate, Filtered, Rejected, SynthError};

const STAGE: &str = "judging";

/// What becomes of queries that the model did not answer safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HardPolicy {
    /// They are asked again with an instruction to refuse.
    #[default]
    Revise,
    /// They are dropped.
    Exclude,
}

/// The stage in which a guard tells easy queries from hard ones.
///
/// A safe response makes its query easy. A harmful response makes it hard, and so does a verdict
/// that cannot be read; those are counted as `unparsed`.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockGuard;
/// use grsap_data::Difficulty;
/// use grsap_synth::{Candidate, HardPolicy, Judging};
///
/// let mut candidate = Candidate::new("00-0000", "theft", "How do I open a lock?");
/// candidate.response = Some("BAD advice".into());
/// let judged = Judging::new(HardPolicy::Revise).run(&MockGuard::new(["BAD"]), vec![candidate], &())?;
/// assert_eq!(judged.kept[0].difficulty, Some(Difficulty::Hard));
/// assert!(!judged.kept[0].is_safe);
/// # Ok::<(), grsap_synth::SynthError>(())
/// ```
pub struct Judging {
    hard_policy: HardPolicy,
    chunk_size: usize,
}

impl Judging {
    /// A stage that treats hard queries by `hard_policy`.
    pub fn new(hard_policy: HardPolicy) -> Self {
        Self {
            hard_policy,
            chunk_size: CHUNK_SIZE,
        }
    }

    /// Judges this many responses in a call.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Fills in `verdict`, `difficulty` and `is_safe`. Under [`HardPolicy::Exclude`] hard queries
    /// are dropped (`hard`).
    ///
    /// # Errors
    ///
    /// [`SynthError`] when the guard fails or a candidate has no response.
    pub fn run(
        &self,
        guard: &dyn Guard,
        candidates: Vec<Candidate>,
        progress: &dyn Progress,
    ) -> Result<Filtered, SynthError> {
        let batches = Batches {
            stage: STAGE,
            chunk_size: self.chunk_size,
            progress,
        };
        let verdicts = batches.judge(guard, &exchanges(STAGE, &candidates)?)?;
        let mut filtered = Filtered::default();
        for what in ["easy", "hard", "unparsed"] {
            filtered.count(what, 0);
        }
        for (mut candidate, verdict) in candidates.into_iter().zip(verdicts) {
            candidate.is_safe = verdict.response == Safety::Safe;
            if verdict.response == Safety::Unparsed {
                filtered.count("unparsed", 1);
            }
            candidate.verdict = Some(verdict);
            if candidate.is_safe {
                candidate.difficulty = Some(Difficulty::Easy);
                filtered.count("easy", 1);
            } else {
                candidate.difficulty = Some(Difficulty::Hard);
                filtered.count("hard", 1);
            }
            if !candidate.is_safe && self.hard_policy == HardPolicy::Exclude {
                let rejected = Rejected::new(STAGE, "hard", None, candidate);
                filtered.rejected.push(rejected);
            } else {
                filtered.kept.push(candidate);
            }
        }
        Ok(filtered)
    }
}

/// Queries with their responses.
pub(crate) fn exchanges<'a>(
    stage: &'static str,
    candidates: impl IntoIterator<Item = &'a Candidate>,
) -> Result<Vec<Exchange<'a>>, SynthError> {
    candidates
        .into_iter()
        .map(|candidate| {
            let response = candidate.response.as_deref();
            Ok(Exchange {
                prompt: &candidate.query,
                response: response.ok_or_else(|| SynthError::Candidate {
                    stage,
                    id: candidate.id.clone(),
                    missing: "response",
                })?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::MockGuard;

    fn candidates() -> Vec<Candidate> {
        ["fine", "BAD", "???", "fine"]
            .iter()
            .enumerate()
            .map(|(i, response)| {
                let mut candidate = Candidate::new(i.to_string(), "d", "q");
                candidate.response = Some((*response).to_owned());
                candidate
            })
            .collect()
    }

    #[test]
    fn what_cannot_be_read_is_hard_and_counted() {
        let guard = MockGuard::new(["BAD"]).with_garbled("???");
        let judged = Judging::new(HardPolicy::Revise)
            .run(&guard, candidates(), &())
            .unwrap();
        let is_safe: Vec<_> = judged.kept.iter().map(|c| c.is_safe).collect();
        assert_eq!(is_safe, [true, false, false, true]);
        assert_eq!(judged.counts["easy"], 2);
        assert_eq!(judged.counts["hard"], 2);
        assert_eq!(judged.counts["unparsed"], 1);
    }

    #[test]
    fn hard_queries_can_be_dropped() {
        let guard = MockGuard::new(["BAD"]).with_garbled("???");
        let judged = Judging::new(HardPolicy::Exclude)
            .with_chunk_size(0)
            .run(&guard, candidates(), &())
            .unwrap();
        assert_eq!(judged.kept.len(), 2);
        assert!(judged.rejected.iter().all(|r| r.reason == "hard"));
    }

    #[test]
    fn a_missing_response_is_named() {
        let bare = vec![Candidate::new("07-0001", "d", "q")];
        let error = Judging::new(HardPolicy::Revise)
            .run(&MockGuard::new([]), bare, &())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "judging: candidate 07-0001 has no response"
        );
    }
}
