use std::cell::RefCell;
use std::collections::HashMap;

use grsap_core::{Embedder, ModelError};

/// An embedder that embeds each text once. Several filters look at the same queries.
///
/// # Examples
///
/// ```
/// use grsap_core::{Embedder, mock::MockEmbedder};
/// use grsap_synth::CachedEmbedder;
///
/// let cached = CachedEmbedder::new(MockEmbedder::new(8));
/// assert_eq!(cached.embed(&["a", "b", "a"])?, MockEmbedder::new(8).embed(&["a", "b", "a"])?);
/// # Ok::<(), grsap_core::ModelError>(())
/// ```
pub struct CachedEmbedder<E> {
    inner: E,
    rows: RefCell<HashMap<String, Vec<f32>>>,
}

impl<E: Embedder> CachedEmbedder<E> {
    /// Remembers what `inner` returns.
    pub fn new(inner: E) -> Self {
        Self {
            inner,
            rows: RefCell::new(HashMap::new()),
        }
    }
}

impl<E: Embedder> Embedder for CachedEmbedder<E> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let mut rows = self.rows.borrow_mut();
        let mut new: Vec<&str> = Vec::new();
        for text in texts {
            if !rows.contains_key(*text) {
                rows.insert((*text).to_owned(), Vec::new());
                new.push(text);
            }
        }
        if !new.is_empty() {
            let embedded = self.inner.embed(&new);
            let is_whole = embedded
                .as_ref()
                .is_ok_and(|values| values.len() == new.len() * self.dim());
            if !is_whole {
                // Nothing may be remembered of a call that failed.
                new.iter().for_each(|text| drop(rows.remove(*text)));
                let place = |index: usize| {
                    let text = new.get(index);
                    let place = texts.iter().position(|other| Some(other) == text);
                    place.unwrap_or(index)
                };
                return embedded.map_err(|error| error.placed(place));
            }
            for (text, row) in new.iter().zip(embedded?.chunks_exact(self.dim().max(1))) {
                rows.insert((*text).to_owned(), row.to_vec());
            }
        }
        Ok(texts
            .iter()
            .filter_map(|text| rows.get(*text))
            .flatten()
            .copied()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counting {
        num_texts: Cell<usize>,
        fails: Cell<bool>,
    }

    impl Embedder for Counting {
        fn dim(&self) -> usize {
            1
        }

        fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
            if self.fails.get() {
                return Err(ModelError::backend("embedding", "no luck"));
            }
            self.num_texts.set(self.num_texts.get() + texts.len());
            Ok(texts.iter().map(|text| text.len() as f32).collect())
        }
    }

    #[test]
    fn each_text_is_embedded_once_and_failures_are_forgotten() {
        let cached = CachedEmbedder::new(Counting {
            num_texts: Cell::new(0),
            fails: Cell::new(true),
        });
        assert!(cached.embed(&["a", "bb"]).is_err());
        cached.inner.fails.set(false);
        assert_eq!(cached.embed(&["a", "bb", "a"]).unwrap(), [1.0, 2.0, 1.0]);
        assert_eq!(cached.embed(&["bb", "ccc"]).unwrap(), [2.0, 3.0]);
        assert_eq!(cached.inner.num_texts.get(), 3);
    }
}
