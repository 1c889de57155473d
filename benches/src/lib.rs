//! What the benches share: the real model, fetched where it is not there yet, rows to compare, memory
//! figures, and what the processor can do.

#[allow(unreachable_pub, clippy::indexing_slicing)]
#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;
mod peak;
mod rows;

pub use rows::Rows;

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use grsap_replay::model::{ChatModel, Decoder};

pub use peak::peak;

/// SmolLM2-135M-Instruct, or the model that `GRSAP_BENCH_MODEL` names.
///
/// # Panics
///
/// When it cannot be fetched or loaded: a bench has nothing to measure then.
#[allow(clippy::panic)]
pub fn model(device: &Device) -> ChatModel {
    let path = std::env::var_os("GRSAP_BENCH_MODEL")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            assets::Assets::open(None, Arc::new(()))
                .and_then(|assets| assets.smollm2())
                .unwrap_or_else(|e| panic!("{e}"))
        });
    ChatModel::load(&path, device).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Operations of a LoRA step for each token, in products with frozen weights: forwards, and backwards over
/// the inputs, two each for every weight.
pub fn operations_per_token(decoder: &Decoder) -> f64 {
    let sizes = decoder.projections().map(|(_, p)| p.weight().dims());
    let sizes = sizes.chain([decoder.head_weight().dims()]);
    let num_weights: usize = sizes.map(|[out, width]| out * width).sum();
    4.0 * num_weights as f64
}

/// A figure of this process in MiB, as Linux counts it: `VmRSS` is resident now, `VmHWM` the most
/// that was.
///
/// # Errors
///
/// On a system that does not say.
pub fn memory_mib(field: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.ok_or("this system does not say how much memory is resident")?;
    let kib: f64 = value
        .trim_start_matches(':')
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}
