use std::rc::Rc;
use std::sync::Arc;

use crate::ModelError;

/// A model that maps texts to unit vectors.
pub trait Embedder {
    /// The length of one embedding.
    fn dim(&self) -> usize;

    /// Embeds every text.
    ///
    /// # Shapes
    ///
    /// The result is `[texts, dim]`, row-major; every row has unit length.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the model fails.
    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<T: Embedder + ?Sized> Embedder for $wrapper {
            fn dim(&self) -> usize {
                (**self).dim()
            }

            fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
                (**self).embed(texts)
            }
        }
    )*};
}
forward!(&T, Box<T>, Rc<T>, Arc<T>);

/// The cosine of two unit vectors: their dot product.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
