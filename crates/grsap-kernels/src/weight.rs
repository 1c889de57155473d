use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::error::KernelError;
#[cfg(feature = "flex")]
pub(crate) use crate::flex::PackedWeight;

#[cfg(not(feature = "flex"))]
pub(crate) use unavailable::PackedWeight;

/// How a frozen weight is held in memory, and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightFormat {
    /// Single precision.
    #[default]
    F32,
    /// Half the memory: the weight is rounded to `bf16`, the other factor in every product too;
    /// sums are in `f32`. On a GPU everything between the layers is `bf16` as well.
    Bf16,
    /// About a quarter of the memory: 64 inputs of an output share a scale, and become whole
    /// numbers from -127 to 127; so does the other factor in every product. Sums within such a
    /// block are exact, over the blocks in `f32`. For generation and scoring; CPU only.
    Int8,
}

/// A weight that does not change, `[out, in]`.
///
/// On the CPU it is packed, once, in the order in which the matrix code reads it, and takes the
/// place of the tensor that it was made from. Copies share their memory.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use grsap_kernels::{FrozenWeight, WeightFormat, linear};
///
/// let device = Device::flex();
/// let weight = FrozenWeight::new(vec![1.0, 2.0, 3.0, 4.0], [2, 2], WeightFormat::F32, &device)?;
/// let x = Tensor::<2>::from_floats([[1.0, 10.0]], &device);
/// let y = linear(x, &weight)?.into_data().try_into_vec::<f32>().unwrap();
/// assert_eq!(y, [21.0, 43.0]);
/// # Ok::<(), grsap_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrozenWeight(Form);

#[derive(Debug, Clone)]
enum Form {
    Dense(Box<Tensor<2>>),
    Packed(PackedWeight),
}

impl FrozenWeight {
    /// From `[out, in]` values, row-major.
    ///
    /// # Errors
    ///
    /// When there are not as many values as the shape asks for, or the device does not have the
    /// format.
    pub fn new(
        values: Vec<f32>,
        shape: [usize; 2],
        format: WeightFormat,
        device: &Device,
    ) -> Result<Self, KernelError> {
        let op = "frozen_weight";
        let expected = shape.iter().product();
        crate::error::check(op, "number of values", expected, values.len())?;
        if let Some(packed) = PackedWeight::new(&values, shape, format, device) {
            return Ok(Self(Form::Packed(packed)));
        }
        let dtype = match format {
            WeightFormat::F32 => DType::F32,
            WeightFormat::Bf16 if device.supports_dtype(DType::BF16) => DType::BF16,
            WeightFormat::Bf16 | WeightFormat::Int8 => return Err(KernelError::Format { format }),
        };
        let tensor = Tensor::<2>::from_data(TensorData::new(values, shape), (device, DType::F32));
        Ok(Self::dense(tensor.cast(dtype)))
    }

    /// A weight that stays the tensor that it is: every operation takes its reference.
    pub fn dense(tensor: Tensor<2>) -> Self {
        Self(Form::Dense(Box::new(tensor)))
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match &self.0 {
            Form::Dense(tensor) => tensor.dims(),
            Form::Packed(packed) => packed.shape(),
        }
    }

    /// Where the weight is.
    pub fn device(&self) -> Device {
        match &self.0 {
            Form::Dense(tensor) => tensor.device(),
            Form::Packed(packed) => packed.device(),
        }
    }

    /// How it is held.
    pub fn format(&self) -> WeightFormat {
        match &self.0 {
            Form::Dense(tensor) if tensor.dtype() == DType::BF16 => WeightFormat::Bf16,
            Form::Dense(_) => WeightFormat::F32,
            Form::Packed(packed) => packed.format(),
        }
    }

    /// Whether a gradient is asked for: only of a weight that stayed a tensor.
    pub fn is_tracked(&self) -> bool {
        match &self.0 {
            Form::Dense(tensor) => tensor.is_tracked(),
            Form::Packed(_) => false,
        }
    }

    /// Bytes that it takes.
    pub fn num_bytes(&self) -> usize {
        match &self.0 {
            Form::Dense(tensor) => tensor.dims().iter().product::<usize>() * tensor.dtype().size(),
            Form::Packed(packed) => packed.num_bytes(),
        }
    }

    /// The type that the input of a product with it must have: `f32`, but on GPUs that of the
    /// weight.
    pub fn input_dtype(&self) -> DType {
        match &self.0 {
            Form::Dense(tensor) => tensor.dtype(),
            Form::Packed(_) => DType::F32,
        }
    }

    /// A copy as an `f32` tensor, `[out, in]`, without gradient tracking where it was packed.
    pub fn to_tensor(&self) -> Tensor<2> {
        self.dense_or_unpacked().cast(DType::F32)
    }

    /// As a tensor of the type that it is held in.
    pub(crate) fn dense_or_unpacked(&self) -> Tensor<2> {
        match &self.0 {
            Form::Dense(tensor) => tensor.as_ref().clone(),
            Form::Packed(packed) => {
                let values = TensorData::new(packed.unpacked(), packed.shape());
                Tensor::from_data(values, &packed.device())
            }
        }
    }

    /// The rows with the given indices, in their order: what an embedding looks up.
    ///
    /// # Errors
    ///
    /// When an index is out of range.
    pub fn rows(&self, indices: &[usize]) -> Result<Tensor<2>, KernelError> {
        let len = self.dims()[0];
        let out_of_range = |index: usize| KernelError::Index {
            op: "rows",
            what: "row",
            index,
            len,
        };
        if let Some(&index) = indices.iter().find(|&&index| index >= len) {
            return Err(out_of_range(index));
        }
        match &self.0 {
            Form::Dense(tensor) => {
                let index = |&index: &usize| i32::try_from(index).map_err(|_| out_of_range(index));
                let indices: Vec<i32> = indices.iter().map(index).collect::<Result<_, _>>()?;
                let indices = TensorData::from(indices.as_slice());
                let indices = Tensor::<1, Int>::from_data(indices, &tensor.device());
                Ok(tensor.as_ref().clone().select(0, indices))
            }
            Form::Packed(packed) => {
                let shape = [indices.len(), packed.shape()[1]];
                let values = TensorData::new(packed.rows(indices), shape);
                Ok(Tensor::from_data(values, &packed.device()))
            }
        }
    }

    /// The same form with other values: a packed weight is packed again.
    #[must_use]
    pub fn replaced(&self, tensor: Tensor<2>) -> Self {
        if let Form::Packed(packed) = &self.0
            && let Ok(values) = tensor.to_data().as_slice::<f32>()
            && let (shape, format, device) = (tensor.dims(), packed.format(), packed.device())
            && let Some(packed) = PackedWeight::new(values, shape, format, &device)
        {
            return Self(Form::Packed(packed));
        }
        Self::dense(tensor.cast(self.input_dtype()))
    }

    /// The packed form, if the fused operations take it with this input.
    pub(crate) fn packed_for(&self, x: &Tensor<2>) -> Option<PackedWeight> {
        match &self.0 {
            Form::Packed(packed) if crate::is_fused(x) => Some(packed.clone()),
            _ => None,
        }
    }
}

/// Stands for the packed form where the CPU backend is not compiled in.
#[cfg(not(feature = "flex"))]
mod unavailable {
    use burn::tensor::Device;

    use super::WeightFormat;

    /// There is none.
    #[derive(Debug, Clone)]
    pub(crate) enum PackedWeight {}

    impl PackedWeight {
        pub(super) fn new(_: &[f32], _: [usize; 2], _: WeightFormat, _: &Device) -> Option<Self> {
            None
        }
        pub(super) fn format(&self) -> WeightFormat {
            match *self {}
        }
        pub(super) fn shape(&self) -> [usize; 2] {
            match *self {}
        }
        pub(super) fn device(&self) -> Device {
            match *self {}
        }
        pub(super) fn num_bytes(&self) -> usize {
            match *self {}
        }
        pub(super) fn rows(&self, _: &[usize]) -> Vec<f32> {
            match *self {}
        }
        pub(super) fn unpacked(&self) -> Vec<f32> {
            match *self {}
        }
    }
}
