use std::sync::Arc;

use burn::tensor::Device;

use super::super::matmul::Store;
use super::int8::Int8;
use super::matrix::Packed;
use super::nf4::Nf4;
use crate::weight::WeightFormat;

/// A packed weight of any format. Copies share their memory.
#[derive(Clone)]
pub(crate) struct PackedWeight(Words);

#[derive(Clone)]
enum Words {
    F32(Arc<Packed<f32>>),
    Bf16(Arc<Packed<u32>>),
    Int8(Arc<Int8>),
    Nf4(Arc<Nf4>),
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeight({:?}, {:?})", self.format(), self.shape())
    }
}

macro_rules! each {
    ($weight:expr, $packed:ident => $body:expr) => {
        match &$weight.0 {
            Words::F32($packed) => $body,
            Words::Bf16($packed) => $body,
            Words::Int8($packed) => $body,
            Words::Nf4($packed) => $body,
        }
    };
}

impl PackedWeight {
    pub(crate) fn is_for(device: &Device) -> bool {
        *device == Device::flex()
    }

    /// `None` for other devices.
    pub(crate) fn new(
        values: &[f32],
        shape: [usize; 2],
        format: WeightFormat,
        device: &Device,
    ) -> Option<Self> {
        let pack = || match format {
            WeightFormat::F32 => Words::F32(Packed::new(values, shape).into()),
            WeightFormat::Bf16 => Words::Bf16(Packed::new(values, shape).into()),
            WeightFormat::Int8 => Words::Int8(Int8::new(values, shape).into()),
            WeightFormat::Nf4 => Words::Nf4(Nf4::new(values, shape).into()),
        };
        Self::is_for(device).then(|| Self(pack()))
    }

    pub(crate) fn device(&self) -> Device {
        Device::flex()
    }

    pub(crate) fn format(&self) -> WeightFormat {
        match self.0 {
            Words::F32(_) => WeightFormat::F32,
            Words::Bf16(_) => WeightFormat::Bf16,
            Words::Int8(_) => WeightFormat::Int8,
            Words::Nf4(_) => WeightFormat::Nf4,
        }
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        each!(self, packed => packed.shape())
    }

    pub(crate) fn num_bytes(&self) -> usize {
        each!(self, packed => packed.num_bytes())
    }

    pub(crate) fn rows(&self, indices: &[usize]) -> Vec<f32> {
        each!(self, packed => packed.rows(indices))
    }

    pub(crate) fn unpacked(&self) -> Vec<f32> {
        each!(self, packed => packed.unpacked())
    }

    pub(in crate::flex) fn forward(&self, x: &[f32], m: usize) -> Vec<f32> {
        each!(self, packed => packed.forward(x, m))
    }

    pub(in crate::flex) fn forward_into(&self, x: &[f32], m: usize, y: &mut [f32]) {
        each!(self, packed => packed.forward_into(x, m, y))
    }

    pub(in crate::flex) fn backward(&self, dy: &[f32], dx: &mut [f32], m: usize, into: Store) {
        each!(self, packed => packed.backward(dy, dx, m, into))
    }
}
