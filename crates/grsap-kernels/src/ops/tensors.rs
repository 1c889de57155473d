//! Any number of tensors as one argument of an operation.

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor,
    DispatchTensorKind, ExtensionType, autodiff::checkpoint::strategy::CheckpointStrategy,
};
use burn::tensor::Tensor;

/// Tensors of one device. The derive of [`ExtensionType`] knows no vectors.
#[derive(Debug, Clone)]
pub(crate) struct Tensors<B: Backend>(pub(crate) Vec<FloatTensor<B>>);

impl Tensors<Dispatch> {
    pub(super) fn new(tensors: impl IntoIterator<Item = Tensor<2>>) -> Self {
        Self(tensors.into_iter().map(Tensor::into_dispatch).collect())
    }
}

impl<B: Backend, C: CheckpointStrategy> Tensors<Autodiff<B, C>> {
    pub(super) fn inner(self) -> Tensors<B> {
        Tensors(self.0.into_iter().map(|t| t.into_primitive()).collect())
    }
}

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let wrap = |tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        };
        Tensors(self.0.into_iter().map(wrap).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let tensors = target.0.into_iter();
        Self(tensors.map(|tensor| unwrap_kind(tensor).float()).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let contexts = target.0.iter().map(|tensor| tensor.autodiff);
        contexts.fold(DispatchAutodiffContext::Disabled, |all, context| {
            all.merge(context)
        })
    }
}
