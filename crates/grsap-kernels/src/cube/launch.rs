//! What the launches of all kernels share.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::tensor_vector_size_parallel;

/// Units of one cube in kernels that reduce a row: a power of two, at most `most` and what the device
/// has.
pub(super) fn row_units(client: &Client, most: usize) -> usize {
    let units = client.properties().hardware.max_units_per_cube as usize;
    1 << most.min(units).max(1).ilog2()
}

/// A tensor whose elements lie one after another, `[rows, width]`.
pub(super) struct Dense {
    pub(super) tensor: CubeTensor,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Dense {
    pub(super) fn new(tensor: CubeTensor) -> Self {
        let tensor = into_contiguous(tensor);
        let shape = tensor.meta.shape();
        let num_dims = shape.num_dims();
        let width = if num_dims > 1 { shape[num_dims - 1] } else { 1 };
        let rows = shape.num_elements() / width.max(1);
        Self {
            tensor,
            rows,
            width,
        }
    }

    /// The same for a kernel that takes the length of a buffer for that of the tensor: CUDA's allocator
    /// pads rows, and a tensor of one row keeps the padding behind it. For types of four bytes.
    pub(super) fn exact(tensor: CubeTensor) -> Self {
        let mut dense = Self::new(tensor);
        let bytes = (dense.rows * dense.width * dense.tensor.dtype.size()) as u64;
        let padding = dense.tensor.handle.size_in_used().saturating_sub(bytes);
        if padding > 0 {
            dense.tensor.handle = dense.tensor.handle.offset_end(padding);
        }
        dense
    }

    pub(super) fn client(&self) -> Client {
        self.tensor.client.clone()
    }

    pub(super) fn elem(&self) -> ElemType {
        dtype_to_storage_type(self.tensor.dtype)
    }

    /// A tensor on the same device that is yet to be written.
    pub(super) fn empty<const D: usize>(&self, shape: [usize; D], dtype: DType) -> CubeTensor {
        empty_device_contiguous_dtype(
            self.tensor.client.clone(),
            self.tensor.device.clone(),
            Shape::new(shape),
            dtype,
        )
    }

    /// The same with the shape and type of this one.
    pub(super) fn empty_like(&self) -> CubeTensor {
        empty_device_contiguous_dtype(
            self.tensor.client.clone(),
            self.tensor.device.clone(),
            self.tensor.meta.shape().clone(),
            self.tensor.dtype,
        )
    }

    /// How many elements of a row a unit moves at once: as many as the device moves and `divides`,
    /// a number of elements that must fall into whole vectors, allows.
    pub(super) fn vector_size(&self, divides: usize) -> usize {
        let wanted = tensor_vector_size_parallel(
            self.tensor
                .client
                .io_optimized_vector_sizes(self.tensor.dtype.size()),
            self.tensor.meta.shape(),
            self.tensor.meta.strides(),
            self.tensor.meta.num_dims() - 1,
        );
        let mut size = wanted;
        while size > 1 && !divides.is_multiple_of(size) {
            size /= 2;
        }
        size
    }

    pub(super) fn arg(&self) -> BufferArg {
        self.tensor.clone().into_buffer_arg()
    }
}

pub(super) fn arg(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// Cubes that all devices take in one direction.
pub(super) const MOST_CUBES: usize = 65_535;

/// Enough cubes for so many rows, one row each.
pub(super) fn one_cube_a_row(rows: usize) -> CubeCount {
    let y = rows.div_ceil(MOST_CUBES).max(1);
    let x = rows.div_ceil(y).max(1);
    CubeCount::Static(x as u32, y as u32, 1)
}

/// Cubes and their size for so many independent units.
pub(super) fn elementwise(client: &Client, units: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, units.max(1));
    let count = cubecl::calculate_cube_count_elemwise(client, units.max(1), dim);
    (count, dim)
}

/// A buffer of indices.
pub(super) fn indices(client: &Client, values: &[u32]) -> (cubecl::server::Handle, usize) {
    let len = values.len();
    (client.create_from_slice(bytemuck::cast_slice(values)), len)
}

/// How many tensors a kernel serves at once that binds so many buffers for each: a device may have
/// few, and every tensor makes the kernel longer.
pub(super) fn together(client: &Client, buffers: usize) -> usize {
    const MOST: usize = 16;
    // One is left for other arguments, and one for shapes.
    let bindings = client.properties().hardware.max_bindings as usize;
    (bindings.saturating_sub(2) / buffers).clamp(1, MOST)
}
