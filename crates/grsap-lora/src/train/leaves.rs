use burn::tensor::{Gradients, Tensor};
use grsap_model::{Decoder, Parameter};

use super::error::TrainError;
use super::trainable::Trainable;
use crate::adapter::AdapterError;

/// The parameters of a decoder as leaves whose gradients are kept.
pub(super) struct Leaves {
    tracked: Vec<Parameter>,
    untracked: Vec<Parameter>,
}

/// Gradients by all leaves, as matrices.
pub(super) struct GradientSums<'a> {
    leaves: &'a Leaves,
    /// `None` for zero.
    sums: Vec<Option<Tensor<2>>>,
}

impl Leaves {
    /// Makes the parameters of the decoder leaves.
    pub(super) fn track(
        decoder: &mut Decoder,
        trainable: &dyn Trainable,
    ) -> Result<Self, TrainError> {
        let parameters = trainable.parameters(decoder).into_iter();
        let untracked: Vec<Parameter> = parameters.map(|(_, p)| untracked(p)).collect();
        if untracked.is_empty() {
            return Err(AdapterError::NoAdapter.into());
        }
        let tracked: Vec<Parameter> = untracked.iter().cloned().map(tracked).collect();
        trainable.set_parameters(decoder, tracked.clone())?;
        Ok(Self { tracked, untracked })
    }

    /// Takes the tracking off, so that the decoder is fit for inference.
    pub(super) fn untrack(
        self,
        decoder: &mut Decoder,
        trainable: &dyn Trainable,
    ) -> Result<(), TrainError> {
        trainable.set_parameters(decoder, self.untracked)
    }

    pub(super) fn zero(&self) -> GradientSums<'_> {
        GradientSums {
            leaves: self,
            sums: vec![None; self.tracked.len()],
        }
    }
}

impl GradientSums<'_> {
    /// Adds what a backward pass found. Leaves that its loss does not depend on have no entry.
    pub(super) fn take(&mut self, gradients: &mut Gradients) {
        for (leaf, sum) in self.leaves.tracked.iter().zip(&mut self.sums) {
            let found = match leaf {
                Parameter::Vector(tensor) => tensor.grad_remove(gradients).map(Tensor::unsqueeze),
                Parameter::Matrix(tensor) => tensor.grad_remove(gradients),
            };
            add(sum, found);
        }
    }

    /// Adds those of a pass, perhaps of a copy on another device.
    pub(super) fn add(&mut self, other: GradientSums<'_>) {
        let leaves = self.leaves.untracked.iter();
        for ((sum, more), leaf) in self.sums.iter_mut().zip(other.sums).zip(leaves) {
            add(sum, more.map(|more| more.to_device(&leaf.device())));
        }
    }

    pub(super) fn into_gradients(self) -> Vec<Tensor<2>> {
        let leaves = self.leaves.untracked.iter();
        let sums = leaves.zip(self.sums);
        sums.map(|(leaf, sum)| sum.unwrap_or_else(|| leaf.to_matrix().zeros_like()))
            .collect()
    }
}

fn add(sum: &mut Option<Tensor<2>>, more: Option<Tensor<2>>) {
    *sum = match (sum.take(), more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    };
}

fn untracked(parameter: Parameter) -> Parameter {
    match parameter {
        Parameter::Vector(tensor) => Parameter::Vector(tensor.inner()),
        Parameter::Matrix(tensor) => Parameter::Matrix(tensor.inner()),
    }
}

fn tracked(parameter: Parameter) -> Parameter {
    match parameter {
        Parameter::Vector(tensor) => Parameter::Vector(tensor.autodiff().require_grad()),
        Parameter::Matrix(tensor) => Parameter::Matrix(tensor.autodiff().require_grad()),
    }
}
