use grsap_core::Embedder;
use serde::{Deserialize, Serialize};

use super::embeddings::Embeddings;
use super::similarity::{BLOCK, among, nearest};
use super::traits::in_range;
use super::{Filter, FilterError};
use crate::{Candidate, Filtered, Rejected};

const NAME: &str = "dedup";

/// Settings of [`SemanticDedup`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticDedupConfig {
    /// A query that is more similar than this to an earlier one is dropped.
    pub max_cosine: f64,
}

impl Default for SemanticDedupConfig {
    /// GR-SAP, stage 2: 0.85.
    fn default() -> Self {
        Self { max_cosine: 0.85 }
    }
}

impl SemanticDedupConfig {
    pub(crate) fn check(&self) -> Result<(), FilterError> {
        in_range("max_cosine", self.max_cosine, (-1.0, 1.0), "in [-1, 1]")
    }
}

/// Drops queries that say what an earlier kept query says.
///
/// The search is exact and greedy: the first of a group is kept. Queries are embedded and compared
/// a block at a time, on all threads of rayon's pool. Memory is needed for the kept embeddings and
/// for one block, never for a matrix of all pairs; what is kept does not depend on the threads.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockEmbedder;
/// use grsap_synth::{Candidate, Filter, SemanticDedup};
///
/// let queries = ["open a lock", "Open a lock", "bake some bread"];
/// let candidates = queries.iter().map(|q| Candidate::new("", "d", *q)).collect();
/// let filtered = SemanticDedup::new(MockEmbedder::new(64), Default::default())?.apply(candidates)?;
/// assert_eq!(filtered.kept.len(), 2);
/// assert_eq!(filtered.rejected[0].candidate.query, "Open a lock");
/// # Ok::<(), grsap_synth::FilterError>(())
/// ```
pub struct SemanticDedup<E> {
    embedder: E,
    config: SemanticDedupConfig,
}

impl<E: Embedder> SemanticDedup<E> {
    /// A filter that compares with `embedder`.
    ///
    /// # Errors
    ///
    /// [`FilterError::Config`] when `max_cosine` is not in [-1, 1].
    pub fn new(embedder: E, config: SemanticDedupConfig) -> Result<Self, FilterError> {
        config.check()?;
        Ok(Self { embedder, config })
    }
}

impl<E: Embedder> Filter for SemanticDedup<E> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        let mut kept_rows: Vec<f32> = Vec::new();
        let mut filtered = Filtered::default();
        let mut candidates = candidates.into_iter();
        loop {
            let block: Vec<Candidate> = candidates.by_ref().take(BLOCK).collect();
            if block.is_empty() {
                return Ok(filtered);
            }
            let embeddings = Embeddings::queries(&self.embedder, &block)?;
            let dim = embeddings.dim();
            let before = nearest(embeddings.values(), &kept_rows, dim)?;
            let within = among(embeddings.values(), dim)?;
            // Those of this block that are kept.
            let mut kept: Vec<usize> = Vec::new();
            let rows = embeddings.rows().zip(within.chunks_exact(block.len()));
            for (index, ((mut candidate, before), (row, within))) in
                block.into_iter().zip(before).zip(rows).enumerate()
            {
                let within = kept.iter().filter_map(|earlier| within.get(*earlier));
                let score = within.copied().fold(before, f32::max);
                // The first of all has nothing before it.
                let score = score.is_finite().then(|| f64::from(score));
                if score.is_some_and(|score| score > self.config.max_cosine) {
                    let rejected = Rejected::new(NAME, "duplicate", score, candidate);
                    filtered.rejected.push(rejected);
                    continue;
                }
                if let Some(score) = score {
                    candidate.scores.insert(NAME.to_owned(), score);
                }
                kept.push(index);
                kept_rows.extend_from_slice(row);
                filtered.kept.push(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::MockEmbedder;
    use proptest::prelude::*;

    /// The plain rule, pair by pair.
    fn reference(queries: &[String], max_cosine: f64) -> Vec<usize> {
        let embedder = MockEmbedder::new(8);
        let rows: Vec<Vec<f32>> = queries
            .iter()
            .map(|q| embedder.embed(&[q]).unwrap())
            .collect();
        let mut kept: Vec<usize> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let is_near = |j: &usize| {
                let cosine = super::super::embeddings::dot(row, &rows[*j]);
                f64::from(cosine) > max_cosine
            };
            if !kept.iter().any(is_near) {
                kept.push(i);
            }
        }
        kept
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn blocks_change_nothing(queries in prop::collection::vec("[a-d]( [a-m]){0,4}", 0..1200)) {
            let candidates = queries
                .iter()
                .enumerate()
                .map(|(i, q)| Candidate::new(i.to_string(), "d", q))
                .collect();
            let filter = SemanticDedup::new(MockEmbedder::new(8), Default::default()).unwrap();
            let out = filter.apply(candidates).unwrap();
            let kept: Vec<usize> = out.kept.iter().map(|c| c.id.parse().unwrap()).collect();
            prop_assert_eq!(kept, reference(&queries, 0.85));
            prop_assert_eq!(out.kept.len() + out.rejected.len(), queries.len());
        }
    }

    #[test]
    fn a_score_at_the_limit_is_kept() {
        let same = || vec![Candidate::new("0", "d", "a"), Candidate::new("1", "d", "a")];
        let filter = |max_cosine| {
            SemanticDedup::new(MockEmbedder::new(8), SemanticDedupConfig { max_cosine }).unwrap()
        };
        assert_eq!(filter(1.0).apply(same()).unwrap().kept.len(), 2);
        let out = filter(0.99).apply(same()).unwrap();
        assert_eq!(out.rejected[0].score, Some(1.0));
        assert!(
            SemanticDedup::new(
                MockEmbedder::new(8),
                SemanticDedupConfig { max_cosine: 1.5 }
            )
            .is_err()
        );
    }
}
