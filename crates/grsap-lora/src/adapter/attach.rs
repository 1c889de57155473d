use burn::tensor::{Tensor, TensorData};
use grsap_model::{Decoder, LoraFactors};
use rand::RngExt;

use super::error::AdapterError;
use super::lora_config::LoraConfig;

/// Puts fresh adapters on the selected projections and takes any others off.
///
/// A is drawn, B is zero, so the model computes what it did before. Every factor has a random
/// stream of its own: which other projections are selected does not move it.
///
/// # Errors
///
/// [`AdapterError`] when the configuration is out of range or selects what is not there; the
/// decoder is then as before.
///
/// # Source
///
/// PEFT's default: A by `kaiming_uniform_(a=sqrt(5))`, which is uniform in ±1/sqrt(in), B zero.
pub fn attach(decoder: &mut Decoder, config: &LoraConfig, seed: u64) -> Result<(), AdapterError> {
    let selected = config.select(decoder)?;
    let device = decoder.device();
    let (r, scale) = (config.r, config.scale());
    for (name, projection) in decoder.projections_mut() {
        let factors = selected.contains(&name).then(|| {
            let (width, out) = (projection.in_features(), projection.out_features());
            let mut rng = grsap_core::rng(seed, "lora.attach", &[name.as_bytes()]);
            let bound = 1.0 / (width as f32).sqrt();
            let a: Vec<f32> = (0..r * width)
                .map(|_| rng.random_range(-bound..bound))
                .collect();
            LoraFactors {
                a: Tensor::from_data(TensorData::new(a, [r, width]), &device),
                b: Tensor::zeros([out, r], &device),
                scale,
            }
        });
        projection.set_lora(factors)?;
    }
    Ok(())
}

/// Takes all adapters off: the decoder is the base model again.
pub fn detach(decoder: &mut Decoder) {
    for (_, projection) in decoder.projections_mut() {
        // Taking off checks no shape and cannot fail.
        let _ = projection.set_lora(None);
    }
}

/// Adds the product of each adapter to its weight and takes the adapters off. The outputs stay
/// the same up to rounding, and cost no more than the base model's.
///
/// A weight in few bits is rounded again, which can undo much of what was learnt: after QLoRA, load the
/// model in `f32`, put the adapter on that, and merge there.
pub fn merge(decoder: &mut Decoder) {
    for (_, projection) in decoder.projections_mut() {
        projection.merge();
    }
}
