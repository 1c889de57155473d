//! The plain operations, where a device has too little shared memory for the kernels, and for
//! gradients of keys that several sequences share.

use burn::backend::Cube;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;

use crate::attention::reference;
use crate::segment::{AttentionShape, Segment};

fn tensor(primitive: CubeTensor) -> Tensor<2> {
    Tensor::from_primitive::<Cube>(primitive)
}

fn primitive(tensor: Tensor<2>) -> CubeTensor {
    // It came from the same backend.
    #[allow(clippy::expect_used)]
    tensor
        .try_into_primitive::<Cube>()
        .expect("a tensor of this backend")
}

pub(super) fn forward(
    inputs: [CubeTensor; 3],
    shape: AttentionShape,
    segments: &[Segment],
) -> CubeTensor {
    let [q, k, v] = inputs.map(tensor);
    primitive(reference(q, k, v, shape, segments))
}

pub(super) fn backward(
    inputs: [CubeTensor; 3],
    dy: CubeTensor,
    shape: AttentionShape,
    segments: &[Segment],
) -> [CubeTensor; 3] {
    let inputs = inputs.map(|input| tensor(input).autodiff().require_grad());
    let [q, k, v] = inputs.clone();
    let y = reference(q, k, v, shape, segments);
    let gradients = (y * tensor(dy).autodiff()).sum().backward();
    inputs.map(|input| {
        let gradient = input.grad(&gradients);
        primitive(gradient.unwrap_or_else(|| input.inner().zeros_like()))
    })
}
