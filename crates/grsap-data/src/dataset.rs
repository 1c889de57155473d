use crate::DataError;

/// A finite collection of items that are read by position.
///
/// With this trait in scope `get` of a `Vec` is this one; `as_slice().get` is the one that gives an
/// `Option`.
///
/// # Examples
///
/// ```
/// use grsap_data::Dataset;
///
/// let rows = vec!["a", "b"];
/// assert_eq!(Dataset::len(&rows), 2);
/// assert_eq!(Dataset::get(&rows, 1)?, "b");
/// assert!(Dataset::get(&rows, 2).is_err());
/// # Ok::<(), grsap_data::DataError>(())
/// ```
pub trait Dataset {
    /// What one position holds.
    type Item;

    /// How many items there are.
    fn len(&self) -> usize;

    /// The item at `index`.
    ///
    /// # Errors
    ///
    /// [`DataError::OutOfRange`] when there is none.
    fn get(&self, index: usize) -> Result<Self::Item, DataError>;

    /// Whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Dataset for [T] {
    type Item = T;

    fn len(&self) -> usize {
        <[T]>::len(self)
    }

    fn get(&self, index: usize) -> Result<T, DataError> {
        <[T]>::get(self, index)
            .cloned()
            .ok_or(DataError::OutOfRange {
                index,
                len: self.len(),
            })
    }
}

impl<T: Clone> Dataset for Vec<T> {
    type Item = T;

    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn get(&self, index: usize) -> Result<T, DataError> {
        Dataset::get(self.as_slice(), index)
    }
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        impl<D: Dataset + ?Sized> Dataset for $wrapper {
            type Item = D::Item;

            fn len(&self) -> usize {
                (**self).len()
            }

            fn get(&self, index: usize) -> Result<D::Item, DataError> {
                (**self).get(index)
            }
        }
    )*};
}
forward!(&D, Box<D>, std::sync::Arc<D>);
