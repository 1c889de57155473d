use burn::tensor::Tensor;

/// The inputs of an operation do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A dimension differs from what the other inputs ask for.
    #[error("{op}: {what} must be {expected}, got {got}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The dimension.
        what: &'static str,
        /// What it must be.
        expected: usize,
        /// What it is.
        got: usize,
    },
    /// An index points outside its tensor.
    #[error("{op}: {what} {index} is out of range for {len}")]
    Index {
        /// The operation.
        op: &'static str,
        /// The kind of index.
        what: &'static str,
        /// The index.
        index: usize,
        /// The length it must be below (or at most, for ends of ranges).
        len: usize,
    },
    /// A number that must be above zero is not.
    #[error("{op}: the {what} must be above zero")]
    NotPositive {
        /// The operation.
        op: &'static str,
        /// The number.
        what: &'static str,
    },
    /// The inputs are not all of one type.
    #[error("{op}: {what} is {got:?}, the first input {expected:?}")]
    DType {
        /// The operation.
        op: &'static str,
        /// The input.
        what: &'static str,
        /// The type of the first input.
        expected: burn::tensor::DType,
        /// Its own.
        got: burn::tensor::DType,
    },
    /// The device has no operations on weights of this format.
    #[error("this device has no operations on weights in {format}")]
    Format {
        /// The format.
        format: crate::WeightFormat,
    },
    /// A device failed.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// No format of weights has the name.
    #[error("no format of weights is called {name:?}: there are f32, bf16, int8 and nf4")]
    UnknownFormat {
        /// What was asked for.
        name: String,
    },
    /// A segment has no keys, or fewer keys than queries under a causal mask.
    #[error("attention: segment {segment} has {num_queries} queries and {num_keys} keys")]
    Segment {
        /// Position in the list of segments.
        segment: usize,
        /// Its query rows.
        num_queries: usize,
        /// Its key rows.
        num_keys: usize,
    },
}

/// A kernel reads all inputs as being of one type.
pub(crate) fn check_type<const D: usize>(
    op: &'static str,
    what: &'static str,
    first: &Tensor<D>,
    other: &Tensor<D>,
) -> Result<(), KernelError> {
    let (expected, got) = (first.dtype(), other.dtype());
    if expected == got {
        return Ok(());
    }
    Err(KernelError::DType {
        op,
        what,
        expected,
        got,
    })
}

pub(crate) fn check(
    op: &'static str,
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), KernelError> {
    if expected == got {
        return Ok(());
    }
    Err(KernelError::Shape {
        op,
        what,
        expected,
        got,
    })
}
