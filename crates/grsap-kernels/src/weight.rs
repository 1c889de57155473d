use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::blocks::{self, BLOCK};
use crate::error::KernelError;
#[cfg(feature = "flex")]
pub(crate) use crate::flex::PackedWeight;
use crate::ops::{self, DenseWeight};

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
    /// numbers from -127 to 127. On the CPU so does the other factor in every product; sums within
    /// such a block are exact, over the blocks in `f32`. On a GPU, and in backward passes, the weight
    /// is widened where it is needed.
    Int8,
    /// A seventh of the memory, for training with little of it (QLoRA): 64 inputs of an output share
    /// a scale, and each becomes the nearest of the sixteen numbers of NF4, 4-bit NormalFloat. The
    /// weight is widened, forwards and backwards, where it is needed, and not kept. Where the width is
    /// a multiple of 64 the numbers are those of `bitsandbytes` without double quantisation.
    ///
    /// # Source
    ///
    /// Dettmers et al. 2023, *QLoRA*.
    Nf4,
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        })
    }
}

/// From what `Display` gives: `f32`, `bf16`, `int8`, `nf4`.
impl std::str::FromStr for WeightFormat {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        let all = [Self::F32, Self::Bf16, Self::Int8, Self::Nf4];
        let found = all.into_iter().find(|format| format.to_string() == name);
        found.ok_or_else(|| KernelError::UnknownFormat {
            name: name.to_owned(),
        })
    }
}

impl WeightFormat {
    /// Whether weights on the device can have the format.
    pub fn is_supported_by(self, device: &Device) -> bool {
        PackedWeight::is_for(device)
            || match self {
                Self::F32 => true,
                Self::Bf16 => device.supports_dtype(DType::BF16),
                Self::Int8 | Self::Nf4 => crate::has_kernels(device),
            }
    }
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
    Blocks(Box<Blocks>),
}

/// Codes and scales on a GPU.
#[derive(Debug, Clone)]
struct Blocks {
    /// `[out, words]`.
    codes: Tensor<2, Int>,
    /// `[out, blocks]`.
    scales: Tensor<2>,
    width: usize,
    format: WeightFormat,
    /// What it is widened to.
    dtype: DType,
}

impl Blocks {
    fn new(
        values: &[f32],
        [out, width]: [usize; 2],
        format: WeightFormat,
        device: &Device,
    ) -> Self {
        let num_blocks = width.div_ceil(BLOCK);
        let bits = bits(format);
        let (mut words, mut scales) = (Vec::new(), Vec::with_capacity(out * num_blocks));
        words.reserve(out * num_blocks * BLOCK * bits / 32);
        for row in values.chunks(width.max(1)) {
            for values in row.chunks(BLOCK) {
                let mut codes = [0; BLOCK];
                scales.push(match format {
                    WeightFormat::Nf4 => blocks::nf4(values, &mut codes),
                    _ => blocks::int8(values, &mut codes),
                });
                words.extend(codes.chunks(32 / bits).map(|codes| {
                    let codes = codes.iter().rev();
                    codes.fold(0, |word, &code| word << bits | u32::from(code))
                }));
            }
        }
        // Rows would be padded on CUDA, and be copied in every use; one row is padded at its end alone.
        let codes = TensorData::new(words, [out * num_blocks * BLOCK * bits / 32]);
        let codes = Tensor::<1, Int>::from_data(codes, (device, DType::U32));
        let scales = TensorData::new(scales, [out * num_blocks]);
        let scales = Tensor::<1>::from_data(scales, (device, DType::F32));
        Self {
            codes: codes.reshape([out, num_blocks * BLOCK * bits / 32]),
            scales: scales.reshape([out, num_blocks]),
            width,
            format,
            dtype: match device.supports_dtype(DType::BF16) {
                true => DType::BF16,
                false => DType::F32,
            },
        }
    }

    /// Some of its rows.
    fn select(&self, rows: Tensor<1, Int>) -> Self {
        Self {
            codes: self.codes.clone().select(0, rows.clone()),
            scales: self.scales.clone().select(0, rows),
            ..*self
        }
    }

    fn weight(&self) -> DenseWeight<Dispatch> {
        DenseWeight::Blocks {
            codes: self.codes.clone().into_dispatch(),
            scales: self.scales.clone().into_dispatch(),
            width: self.width,
            bits: bits(self.format),
            dtype: self.dtype,
        }
    }
}

/// Of a code.
fn bits(format: WeightFormat) -> usize {
    match format {
        WeightFormat::Nf4 => 4,
        _ => 8,
    }
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
        if !format.is_supported_by(device) {
            return Err(KernelError::Format { format });
        }
        let dtype = match format {
            WeightFormat::F32 => DType::F32,
            WeightFormat::Bf16 => DType::BF16,
            WeightFormat::Int8 | WeightFormat::Nf4 => {
                let blocks = Blocks::new(&values, shape, format, device);
                return Ok(Self(Form::Blocks(Box::new(blocks))));
            }
        };
        let tensor = Tensor::<2>::from_data(TensorData::new(values, shape), (device, DType::F32));
        Ok(Self::dense(tensor.cast(dtype)))
    }

    /// A weight that stays the tensor that it is, and can be trained.
    pub fn dense(tensor: Tensor<2>) -> Self {
        Self(Form::Dense(Box::new(tensor)))
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match &self.0 {
            Form::Dense(tensor) => tensor.dims(),
            Form::Packed(packed) => packed.shape(),
            Form::Blocks(blocks) => [blocks.codes.dims()[0], blocks.width],
        }
    }

    /// Where the weight is.
    pub fn device(&self) -> Device {
        match &self.0 {
            Form::Dense(tensor) => tensor.device(),
            Form::Packed(packed) => packed.device(),
            Form::Blocks(blocks) => blocks.codes.device(),
        }
    }

    /// How it is held.
    pub fn format(&self) -> WeightFormat {
        match &self.0 {
            Form::Dense(tensor) if tensor.dtype() == DType::BF16 => WeightFormat::Bf16,
            Form::Dense(_) => WeightFormat::F32,
            Form::Packed(packed) => packed.format(),
            Form::Blocks(blocks) => blocks.format,
        }
    }

    /// Whether a gradient is asked for: only of a weight that stayed a tensor.
    pub fn is_tracked(&self) -> bool {
        match &self.0 {
            Form::Dense(tensor) => tensor.is_tracked(),
            Form::Packed(_) | Form::Blocks(_) => false,
        }
    }

    /// Bytes that it takes.
    pub fn num_bytes(&self) -> usize {
        match &self.0 {
            Form::Dense(tensor) => tensor.dims().iter().product::<usize>() * tensor.dtype().size(),
            Form::Packed(packed) => packed.num_bytes(),
            Form::Blocks(blocks) => {
                let words = [blocks.codes.dims(), blocks.scales.dims()];
                words.map(|[out, words]| 4 * out * words).iter().sum()
            }
        }
    }

    /// The type that the input of a product with it must have: `f32`, but on GPUs that of the
    /// weight.
    pub fn input_dtype(&self) -> DType {
        match &self.0 {
            Form::Dense(tensor) => tensor.dtype(),
            Form::Packed(_) => DType::F32,
            Form::Blocks(blocks) => blocks.dtype,
        }
    }

    /// A copy on another device, in the same format; shares its memory where it is there already.
    ///
    /// # Errors
    ///
    /// When the device does not have the format, or the values cannot be read back.
    pub fn to_device(&self, device: &Device) -> Result<Self, KernelError> {
        if *device == self.device() {
            return Ok(self.clone());
        }
        match &self.0 {
            Form::Dense(tensor)
                if crate::has_kernels(device) || PackedWeight::is_for(&self.device()) =>
            {
                Ok(Self::dense(tensor.as_ref().clone().to_device(device)))
            }
            Form::Blocks(blocks) if crate::has_kernels(device) => {
                let moved = Blocks {
                    codes: blocks.codes.clone().to_device(device),
                    scales: blocks.scales.clone().to_device(device),
                    ..**blocks
                };
                Ok(Self(Form::Blocks(Box::new(moved))))
            }
            _ => {
                let values = self.to_tensor().try_into_vec_as::<f32>();
                let values = values.map_err(|e| KernelError::Device {
                    reason: e.to_string(),
                })?;
                Self::new(values, self.dims(), self.format(), device)
            }
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
            Form::Blocks(blocks) => ops::widened(blocks.weight()),
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
        let indices_there = |device: &Device| {
            let index = |&index: &usize| i32::try_from(index).map_err(|_| out_of_range(index));
            let indices: Vec<i32> = indices.iter().map(index).collect::<Result<_, _>>()?;
            let indices = TensorData::from(indices.as_slice());
            Ok::<_, KernelError>(Tensor::<1, Int>::from_data(indices, device))
        };
        match &self.0 {
            Form::Dense(tensor) => {
                let indices = indices_there(&tensor.device())?;
                Ok(tensor.as_ref().clone().select(0, indices))
            }
            Form::Packed(packed) => {
                let shape = [indices.len(), packed.shape()[1]];
                let values = TensorData::new(packed.rows(indices), shape);
                Ok(Tensor::from_data(values, &packed.device()))
            }
            Form::Blocks(blocks) => {
                let indices = indices_there(&blocks.codes.device())?;
                Ok(ops::widened(blocks.select(indices).weight()))
            }
        }
    }

    /// The same form with other values: a weight that was packed or rounded is so again. One whose
    /// values cannot be read back from its device becomes a tensor of them.
    #[must_use]
    pub fn replaced(&self, tensor: Tensor<2>) -> Self {
        if !matches!(self.0, Form::Dense(_))
            && let Ok(values) = tensor.clone().try_into_vec_as::<f32>()
            && let (shape, format) = (tensor.dims(), self.format())
            && let Ok(replaced) = Self::new(values, shape, format, &self.device())
        {
            return replaced;
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

    /// What the operations with trained weights take, if they do with this input.
    pub(crate) fn trained_for(&self, x: &Tensor<2>) -> Option<Tensor<2>> {
        match &self.0 {
            Form::Dense(tensor)
                if [x.dtype(), tensor.dtype()] == [DType::F32; 2] && crate::has_fused(x) =>
            {
                Some(tensor.as_ref().clone())
            }
            _ => None,
        }
    }

    /// What the GPU operations take, if they do with this input.
    pub(crate) fn dense_for(&self, x: &Tensor<2>) -> Option<DenseWeight<Dispatch>> {
        let fits = crate::is_gpu(x) && x.dtype() == self.input_dtype() && !self.is_tracked();
        match &self.0 {
            Form::Dense(tensor) if fits => {
                let weight = tensor.as_ref().clone();
                Some(DenseWeight::Whole(weight.into_dispatch()))
            }
            Form::Blocks(blocks) if fits => Some(blocks.weight()),
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
        pub(super) fn is_for(_: &Device) -> bool {
            false
        }
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
