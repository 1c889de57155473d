//! `OpenAiGenerator` against real HTTP servers on loopback: hostile ones, one that our own engine is
//! behind, and llama.cpp's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is the message
#![allow(clippy::indexing_slicing)]

#[path = "../../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;
mod behaviour;
mod failures;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))] // what the package is built for
mod llama_cpp;
mod own_engine;
mod server;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use grsap_core::Message;
use grsap_model::{ChatModel, OpenAiConfig, OpenAiGenerator, PromptEncoder, RetryConfig};
use serde::Deserialize;

fn assets() -> assets::Assets {
    assets::Assets::open(None, Arc::new(())).unwrap()
}

/// The tokenizer and template of SmolLM2.
fn prompts() -> PromptEncoder {
    static PROMPTS: OnceLock<PromptEncoder> = OnceLock::new();
    PROMPTS
        .get_or_init(|| PromptEncoder::load(assets().smollm2().unwrap()).unwrap())
        .clone()
}

fn smollm2() -> &'static ChatModel {
    static MODEL: OnceLock<ChatModel> = OnceLock::new();
    MODEL.get_or_init(|| ChatModel::load(assets().smollm2().unwrap(), &Device::flex()).unwrap())
}

/// Settings for a server that fails fast.
fn config(base_url: String) -> OpenAiConfig {
    OpenAiConfig {
        base_url,
        model: "smollm2".into(),
        retry: RetryConfig {
            num_retries: 2,
            base_ms: 1,
            cap_ms: 4,
            max_wait_ms: 1000,
        },
        ..Default::default()
    }
}

fn generator(config: OpenAiConfig) -> OpenAiGenerator {
    OpenAiGenerator::new(config, prompts()).unwrap()
}

/// What transformers answered greedily.
#[derive(Deserialize)]
struct GreedyCase {
    name: String,
    messages: Vec<Message>,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    text: String,
    margins: Vec<f64>,
    runner_up_ids: Vec<u32>,
}

fn greedy_cases(file: &str) -> Vec<GreedyCase> {
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<GreedyCase>,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smollm2_greedy");
    let json = std::fs::read_to_string(path.join(file)).unwrap();
    serde_json::from_str::<Cases>(&json).unwrap().cases
}
