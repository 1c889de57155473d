//! GGUF files: header, metadata, and tensors, with every offset and length checked against the
//! size of the file before anything is allocated.

mod cursor;
mod dequantize;
mod file;
mod tensor_type;
mod value;

#[cfg(test)]
pub(crate) mod builder;
#[cfg(test)]
mod tests;

pub use file::{GgufFile, GgufTensor};
pub use tensor_type::TensorType;
pub use value::{GgufArray, GgufValue};
