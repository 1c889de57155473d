use crate::MetricError;

/// One vector for each text: a checked view of a row-major matrix.
///
/// The rows come from any [`Embedder`](grsap_core::Embedder), or from anything else that maps texts to
/// vectors, such as the last hidden states of a decoder. Their length does not matter; a figure
/// that needs unit vectors says so and makes them itself.
///
/// # Examples
///
/// ```
/// use grsap_safety::Features;
///
/// let features = Features::new(&[1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2)?;
/// assert_eq!((features.num_rows(), features.dim()), (3, 2));
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Features<'a> {
    /// Views `values`, `[rows, dim]`, row-major.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for no rows, a `dim` that does not divide the number of values, or a value
    /// that is not finite.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self, MetricError> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(MetricError::Config {
                field: "dim",
                expected: "a divisor of the number of values",
                got: format!("{dim} for {} values", values.len()),
            });
        }
        if values.is_empty() {
            return Err(MetricError::Empty {
                metric: "the similarity",
            });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(MetricError::Feature { row: at / dim }),
            None => Ok(Self { values, dim }),
        }
    }

    /// The length of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// All rows, one behind the other.
    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.dim)
    }

    /// Whether both have rows of one length.
    pub(crate) fn check_same_dim(&self, other: &Self) -> Result<(), MetricError> {
        if self.dim == other.dim {
            return Ok(());
        }
        Err(MetricError::Length {
            what: "values in a row of the second features",
            expected: self.dim,
            got: other.dim,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_features_are_named() {
        let error = Features::new(&[1.0; 5], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dim must be a divisor of the number of values, got 2 for 5 values"
        );
        assert!(Features::new(&[1.0], 0).is_err());
        let error = Features::new(&[], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the similarity of no samples is undefined"
        );
        let error = Features::new(&[1.0, 0.0, f32::NAN, 0.0], 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1 of the features has a value that is not finite"
        );
        let (a, b) = ([1.0; 4], [1.0; 6]);
        let (a, b) = (Features::new(&a, 2).unwrap(), Features::new(&b, 3).unwrap());
        let error = a.check_same_dim(&b).unwrap_err();
        assert_eq!(
            error.to_string(),
            "values in a row of the second features: expected 2 entries, got 3"
        );
    }
}
