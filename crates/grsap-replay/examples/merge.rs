//! Merges an adapter into a model and writes a directory that transformers and vLLM load.
//!
//! ```text
//! cargo run --release --example merge -- --model MODEL.gguf --adapter ADAPTER_DIR --out DIR
//! ```

#![allow(clippy::print_stdout)] // a program, not a library

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use grsap_replay::model::{SaveConfig, WeightDtype};
use grsap_replay::prelude::*;

/// Merges an adapter into a model and writes a directory in Hugging Face's layout.
#[derive(Parser)]
struct Args {
    /// A GGUF file, or a directory in Hugging Face's layout.
    #[arg(long)]
    model: PathBuf,
    /// A directory with PEFT's files; without one the model is written as it is.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// The directory to write; it must not be there, or be empty.
    #[arg(long)]
    out: PathBuf,
    /// How weights are stored.
    #[arg(long, default_value = "bf16")]
    dtype: Dtype,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

fn main() -> Result<()> {
    keep_memory();
    let args = Args::parse();
    let mut model = ChatModel::load(&args.model, &Device::flex())?;
    if let Some(adapter) = &args.adapter {
        let config = load_adapter(model.decoder_mut(), adapter).context("the adapter")?;
        println!("merging an adapter of rank {}", config.r);
        merge(model.decoder_mut());
    }
    let config = SaveConfig {
        dtype: match args.dtype {
            Dtype::F32 => WeightDtype::F32,
            Dtype::Bf16 => WeightDtype::BF16,
            Dtype::F16 => WeightDtype::F16,
        },
        ..SaveConfig::default()
    };
    model.save_pretrained(&args.out, &config)?;
    println!("written to {}", args.out.display());
    Ok(())
}
