//! The seam to Burn's backends: what they must have, and the gradients.

// Without the backends that they are for nobody implements them.
#![cfg_attr(
    not(all(feature = "flex", feature = "cube")),
    allow(unused_variables, dead_code, unused_imports)
)]

mod backward;
mod dense;
mod fused;
mod optimiser;
mod packed;
mod tensors;
mod trained;

#[cfg(feature = "cube")]
pub(crate) use dense::{DenseBackward, DenseLoraState, DenseOps};
pub(crate) use dense::{
    DenseWeight, dense_linear, dense_linear_cross_entropy, dense_lora_linear, widened,
};
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use fused::{AttentionState, FusedBackward, FusedOps};
pub(crate) use fused::{attention, rms_norm, rotary, swiglu};
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use optimiser::OptimiserOps;
pub(crate) use optimiser::{adamw, sums_of_squares};
#[cfg(feature = "flex")]
pub(crate) use packed::{LoraState, PackedBackward, PackedOps};
pub(crate) use packed::{linear, linear_cross_entropy, lora_linear, write_rows};
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use tensors::Tensors;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use trained::{TrainedBackward, TrainedOps};
pub(crate) use trained::{nll, trained_linear};
