use std::rc::Rc;
use std::sync::Arc;

use crate::ModelError;

/// A language model that scores texts.
pub trait Perplexity {
    /// exp of the mean negative log-likelihood per token, for each text, in order.
    ///
    /// A text of fewer than two tokens has no next-token prediction; its perplexity is infinite.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the model fails.
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<T: Perplexity + ?Sized> Perplexity for $wrapper {
            fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
                (**self).perplexity(texts)
            }
        }
    )*};
}
forward!(&T, Box<T>, Rc<T>, Arc<T>);
