use std::collections::HashSet;

use grsap_core::Embedder;
use serde::{Deserialize, Serialize};

use super::embeddings::Embeddings;
use super::refusal_shape::words;
use super::similarity::{BLOCK, nearest};
use super::traits::in_range;
use super::{Filter, FilterError};
use crate::{Candidate, Filtered, Rejected};

const NAME: &str = "decontamination";

/// Settings of [`Decontamination`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecontaminationConfig {
    /// A query that is more similar than this to an evaluation prompt is dropped.
    pub max_cosine: f64,
}

impl Default for DecontaminationConfig {
    /// The limit of semantic deduplication, 0.85. The paper does not decontaminate.
    fn default() -> Self {
        Self { max_cosine: 0.85 }
    }
}

impl DecontaminationConfig {
    pub(crate) fn check(&self) -> Result<(), FilterError> {
        in_range("max_cosine", self.max_cosine, (-1.0, 1.0), "in [-1, 1]")
    }
}

/// Drops queries that are in an evaluation set, word for word or nearly.
///
/// The search is exact. Memory is needed for the embeddings of the evaluation set and for a block of
/// queries at a time.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockEmbedder;
/// use grsap_synth::{Candidate, Decontamination, Filter};
///
/// let tests = ["How do I open a lock?"];
/// let filter = Decontamination::new(MockEmbedder::new(64), &tests, Default::default())?;
/// let filtered = filter.apply(vec![Candidate::new("0", "theft", "how do I open a LOCK")])?;
/// assert_eq!(filtered.rejected[0].reason, "exact_match");
/// # Ok::<(), grsap_synth::FilterError>(())
/// ```
pub struct Decontamination<E> {
    embedder: E,
    texts: HashSet<String>,
    rows: Embeddings,
    config: DecontaminationConfig,
}

impl<E: Embedder> Decontamination<E> {
    /// A filter against `evaluation_prompts`.
    ///
    /// # Errors
    ///
    /// [`FilterError`] when `max_cosine` is not in [-1, 1] or the embedder fails.
    pub fn new<T: AsRef<str>>(
        embedder: E,
        evaluation_prompts: &[T],
        config: DecontaminationConfig,
    ) -> Result<Self, FilterError> {
        config.check()?;
        let prompts: Vec<&str> = evaluation_prompts.iter().map(AsRef::as_ref).collect();
        Ok(Self {
            rows: Embeddings::new(&embedder, &prompts, |index| {
                format!("evaluation prompt {index}")
            })?,
            texts: prompts.into_iter().map(words).collect(),
            embedder,
            config,
        })
    }
}

impl<E: Embedder> Filter for Decontamination<E> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        if self.texts.is_empty() {
            return Ok(Filtered::new(candidates, Vec::new()));
        }
        let mut scores = Vec::with_capacity(candidates.len());
        for block in candidates.chunks(BLOCK) {
            let block = Embeddings::queries(&self.embedder, block)?;
            scores.extend(nearest(block.values(), self.rows.values(), block.dim())?);
        }
        let mut filtered = Filtered::default();
        for (mut candidate, score) in candidates.into_iter().zip(scores) {
            let score = f64::from(score);
            let reason = if self.texts.contains(&words(&candidate.query)) {
                "exact_match"
            } else if score > self.config.max_cosine {
                "near_match"
            } else {
                candidate.scores.insert(NAME.to_owned(), score);
                filtered.kept.push(candidate);
                continue;
            };
            let rejected = Rejected::new(NAME, reason, Some(score), candidate);
            filtered.rejected.push(rejected);
        }
        Ok(filtered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::MockEmbedder;

    #[test]
    fn near_and_exact_matches_go() {
        let tests = ["open the old lock now please", "bake bread"];
        let filter =
            Decontamination::new(MockEmbedder::new(256), &tests, Default::default()).unwrap();
        let queries = ["BAKE, bread!", "open the old lock now", "paint a wall"];
        let candidates = queries
            .iter()
            .map(|q| Candidate::new("", "d", *q))
            .collect();
        let out = filter.apply(candidates).unwrap();
        let reasons: Vec<_> = out.rejected.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(reasons, ["exact_match", "near_match"]);
        assert_eq!(out.kept[0].query, "paint a wall");
    }

    #[test]
    fn no_prompts_no_work() {
        let filter =
            Decontamination::new(MockEmbedder::new(8), &[""; 0], Default::default()).unwrap();
        let out = filter.apply(vec![Candidate::new("0", "d", "q")]).unwrap();
        assert_eq!(out.kept.len(), 1);
        assert!(out.kept[0].scores.is_empty());
    }
}
