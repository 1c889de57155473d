//! Shared set-up of the benches: the real model, fetched where it is not there yet.

#[allow(unreachable_pub, clippy::indexing_slicing)]
#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use grsap_replay::model::ChatModel;

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
