use grsap_core::Embedder;

use super::FilterError;
use crate::Candidate;

/// Unit vectors, one for each text, checked.
pub(super) struct Embeddings {
    dim: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Embeds `texts`; `name` says what the text at an index is, for errors.
    pub(super) fn new(
        embedder: &dyn Embedder,
        texts: &[&str],
        name: impl Fn(usize) -> String,
    ) -> Result<Self, FilterError> {
        // Rows of no values could not be told apart.
        let dim = embedder.dim().max(1);
        if texts.is_empty() {
            let values = Vec::new();
            return Ok(Self { dim, values });
        }
        let values = embedder.embed(texts)?;
        if values.len() != texts.len() * dim {
            return Err(FilterError::Length {
                what: "embedding values",
                expected: texts.len() * dim,
                got: values.len(),
            });
        }
        for (index, row) in values.chunks_exact(dim).enumerate() {
            let norm = dot(row, row).sqrt();
            // Half precision keeps the length well within this. NaN is in no range.
            if !(0.99..=1.01).contains(&norm) {
                return Err(FilterError::Embedding {
                    of: name(index),
                    norm,
                });
            }
        }
        Ok(Self { dim, values })
    }

    /// The queries of `candidates`.
    pub(super) fn queries(
        embedder: &dyn Embedder,
        candidates: &[Candidate],
    ) -> Result<Self, FilterError> {
        let texts: Vec<&str> = candidates.iter().map(|c| c.query.as_str()).collect();
        Self::new(embedder, &texts, |index| {
            let id = candidates.get(index).map_or("", |c| c.id.as_str());
            format!("candidate {id}")
        })
    }

    pub(super) fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    /// The values of one row after the other.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn row(&self, index: usize) -> &[f32] {
        let start = index * self.dim;
        self.values.get(start..start + self.dim).unwrap_or_default()
    }
}

const LANES: usize = 16;

/// The dot product, summed in lanes so that the compiler can use vector registers. The order of
/// the additions is fixed, so the result is the same everywhere.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::ModelError;

    struct Fixed(Vec<f32>);

    impl Embedder for Fixed {
        fn dim(&self) -> usize {
            2
        }

        fn embed(&self, _: &[&str]) -> Result<Vec<f32>, ModelError> {
            Ok(self.0.clone())
        }
    }

    fn error(values: Vec<f32>) -> String {
        let candidates = [Candidate::new("a", "d", "q"), Candidate::new("b", "d", "r")];
        Embeddings::queries(&Fixed(values), &candidates)
            .err()
            .unwrap()
            .to_string()
    }

    #[test]
    fn embeddings_are_checked() {
        assert_eq!(
            error(vec![1.0, 0.0, f32::NAN, 0.0]),
            "the embedding of candidate b has length NaN, expected 1"
        );
        assert_eq!(
            error(vec![2.0, 0.0, 1.0, 0.0]),
            "the embedding of candidate a has length 2, expected 1"
        );
        assert_eq!(
            error(vec![1.0, 0.0]),
            "4 embedding values were expected, got 2"
        );
    }

    #[test]
    fn lanes_add_up() {
        for len in [0, 1, 15, 16, 17, 384] {
            let a: Vec<f32> = (0..len).map(|i| (i % 7) as f32).collect();
            let b: Vec<f32> = (0..len).map(|i| (i % 5) as f32 - 2.0).collect();
            let plain: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert_eq!(dot(&a, &b), plain, "{len}: whole numbers add exactly");
        }
    }
}
