use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::error::{KernelError, check, check_type};
use crate::ops;

/// Writes `values[i]` to row `rows[i]` of `buffer`. On the CPU this happens in place when `buffer`
/// is the only handle to its memory. Not differentiable: it serves key-value caches.
///
/// # Shapes
///
/// `buffer` is `[capacity, width]`, `values` is `[n, width]`, `rows` holds n distinct indices.
///
/// # Errors
///
/// When the shapes or the types differ, or an index is out of range.
pub fn write_rows(
    buffer: Tensor<2>,
    values: Tensor<2>,
    rows: &[usize],
) -> Result<Tensor<2>, KernelError> {
    let ([capacity, width], [n, values_width]) = (buffer.dims(), values.dims());
    check("write_rows", "number of indices", n, rows.len())?;
    check("write_rows", "width of values", width, values_width)?;
    check_type("write_rows", "values", &buffer, &values)?;
    if let Some(&index) = rows.iter().find(|&&row| row >= capacity) {
        return Err(KernelError::Index {
            op: "write_rows",
            what: "row",
            index,
            len: capacity,
        });
    }
    if crate::is_fused(&buffer) {
        return Ok(ops::write_rows(buffer, values, rows.to_vec()));
    }
    Ok(reference(buffer, values, rows))
}

/// The same in plain tensor operations.
pub fn reference(buffer: Tensor<2>, values: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    if rows.is_empty() {
        return buffer;
    }
    let device = buffer.device();
    let indices: Vec<i32> = rows
        .iter()
        .map(|&row| i32::try_from(row).unwrap_or(i32::MAX))
        .collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::from(indices.as_slice()), &device);
    buffer.select_assign(0, indices, values, IndexingUpdateOp::Assign)
}
