use grsap_core::{Embedder, ModelError, Perplexity, Progress};

use crate::batch::in_chunks;

/// A model that is called in chunks and tells how far it is.
///
/// [`Filter`](crate::Filter)s ask for everything at once; this goes between a filter and its model.
pub struct WithProgress<'a, M> {
    inner: M,
    task: &'a str,
    chunk_size: usize,
    progress: &'a dyn Progress,
}

impl<'a, M> WithProgress<'a, M> {
    /// Calls `inner` with `chunk_size` texts at a time, under the name `task`.
    pub fn new(inner: M, task: &'a str, chunk_size: usize, progress: &'a dyn Progress) -> Self {
        Self {
            inner,
            task,
            chunk_size,
            progress,
        }
    }

    fn each<T>(
        &self,
        texts: &[&str],
        call: impl Fn(&[&str]) -> Result<Vec<T>, ModelError>,
    ) -> Result<Vec<T>, ModelError> {
        in_chunks(self.progress, self.task, texts, self.chunk_size, 1, call)
    }
}

impl<M: Embedder> Embedder for WithProgress<'_, M> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        self.each(texts, |chunk| self.inner.embed(chunk))
    }
}

impl<M: Perplexity> Perplexity for WithProgress<'_, M> {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        self.each(texts, |chunk| self.inner.perplexity(chunk))
    }
}
