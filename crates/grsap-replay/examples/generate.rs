//! Lets a chat model answer one prompt.
//!
//! ```text
//! cargo run --release --example generate -- --prompt "Name three rivers."
//! cargo run --release --example generate -- --model MODEL.gguf --prompt "Name three rivers."
//! ```

#![allow(clippy::print_stdout)] // a program, not a library

#[path = "support/assets.rs"]
mod assets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use assets::Assets;
use clap::Parser;
use grsap_replay::core::FinishReason;
use grsap_replay::prelude::*;
use serde_json::json;

/// Lets a chat model answer one prompt.
#[derive(Parser)]
struct Args {
    /// A GGUF file, or a directory in Hugging Face's layout; without it SmolLM2-135M-Instruct, which is
    /// fetched the first time.
    #[arg(long)]
    model: Option<PathBuf>,
    /// What the user says.
    #[arg(long)]
    prompt: String,
    /// A system message in front of it.
    #[arg(long)]
    system: Option<String>,
    /// The beginning of the answer, which the model continues.
    #[arg(long = "continue", value_name = "TEXT")]
    continue_from: Option<String>,
    /// Always take the most probable token.
    #[arg(long, conflicts_with_all = ["temperature", "top_p", "top_k"])]
    greedy: bool,
    /// Divides the logits [default: 1].
    #[arg(long, allow_negative_numbers = true)] // so that the error is ours
    temperature: Option<f64>,
    /// Keep the smallest set of tokens that reaches this probability [default: 1].
    #[arg(long, allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Keep at most this many tokens.
    #[arg(long)]
    top_k: Option<usize>,
    /// Fixes the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Answers to sample.
    #[arg(long, default_value_t = 1)]
    n: usize,
    /// The most tokens of one answer.
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// End the answer where this text appears; may be given more than once.
    #[arg(long)]
    stop: Vec<String>,
    /// flex (CPU), wgpu, vulkan or cuda; all but the first need the feature of that name.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    keep_memory();
    let args = Args::parse();
    let device = device(&args.device)?;
    let params = SamplingParams::new(SamplingConfig {
        temperature: if args.greedy {
            0.0
        } else {
            args.temperature.unwrap_or(1.0)
        },
        top_p: args.top_p.unwrap_or(1.0),
        top_k: args.top_k,
        max_new_tokens: args.max_new_tokens,
        n: args.n,
        stop: args.stop,
        seed: args.seed,
    })?;
    let path = match args.model {
        Some(path) => path,
        None => Assets::open(None, Arc::new(Bars::new()))?.smollm2()?,
    };
    let model = ChatModel::load(&path, &device).context("cannot load the model")?;

    let system = args.system.map(Message::system);
    let messages = system.into_iter().chain([Message::user(args.prompt)]);
    let prompt = match args.continue_from {
        Some(start) => Prompt::prefilled(messages.chain([Message::assistant(start)])),
        None => Prompt::chat(messages),
    };
    let prompt_tokens = model.encode(&prompt)?.len();

    let start = Instant::now();
    let generation = model.generate(&[prompt], &params)?.remove(0);
    let seconds = start.elapsed().as_secs_f64();
    let num_tokens: usize = generation.completions.iter().map(|c| c.num_tokens).sum();
    let tokens_per_second = num_tokens as f64 / seconds;

    if args.json {
        let completions = &generation.completions;
        println!(
            "{}",
            json!({
                "prompt_tokens": prompt_tokens,
                "completions": completions,
                "tokens_per_second": tokens_per_second,
            })
        );
        return Ok(());
    }
    for completion in &generation.completions {
        println!("{}", completion.text);
        let end = match completion.finish_reason {
            FinishReason::Eos => "end of turn",
            FinishReason::Stop => "stop text",
            FinishReason::Length => "length limit",
        };
        println!("--- {} tokens, ended by {end}", completion.num_tokens);
    }
    println!(
        "{prompt_tokens} prompt tokens; {num_tokens} new tokens in {seconds:.2} s, \
         {tokens_per_second:.1} tokens/s, the prompt included"
    );
    Ok(())
}

fn device(name: &str) -> Result<Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        _ => bail!(
            "no device `{name}` in this build: it is flex, or wgpu, vulkan or cuda with the \
             feature of that name"
        ),
    }
}
