//! Synthesis alone, at any size: an aligned model writes replay data.
//!
//! ```text
//! cargo run --release --example synthesise -- --samples 64 --out target/synthesis
//! ```
//!
//! Without `--model` it is SmolLM2-135M-Instruct with the alignment adapter of the `gr_sap` example. The
//! embedder is all-MiniLM-L6-v2, the judge a small classifier on its vectors; another guard or embedder
//! is a program of your own, as in the README.
//! In `--out` it writes the buffer (`replay.jsonl`, `rejected.jsonl`), its `manifest.json`, `yields.md`
//! and `yields.svg`. A run that is interrupted, however it was, goes on where it stopped.

#![allow(clippy::print_stdout)] // a program, not a library

#[path = "support/assets.rs"]
mod assets;
#[path = "support/file_hash.rs"]
mod file_hash;
#[path = "support/harm_judge.rs"]
mod harm_judge;
#[path = "support/lab_data.rs"]
mod lab_data;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use grsap_replay::core::digest_hex;
use grsap_replay::prelude::*;

use assets::Assets;
use file_hash::file_hash;
use harm_judge::harm_judge;
use lab_data::{LabData, PublicSets};

/// Lets an aligned model write replay data for all 38 domains.
///
/// The embedder is all-MiniLM-L6-v2, and the judge a small classifier on its vectors.
#[derive(Parser)]
struct Args {
    /// The aligned model: a GGUF file, or a directory in Hugging Face's layout.
    #[arg(long)]
    model: Option<PathBuf>,
    /// A PEFT adapter that is merged into it first.
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Samples for each domain [default: what --config says, else 64].
    #[arg(long)]
    samples: Option<usize>,
    /// Fixes every random choice [default: what --config says, else 1].
    #[arg(long)]
    seed: Option<u64>,
    /// All settings, as in a manifest's `config` (JSON). What it leaves out is as in the paper. Without
    /// it they are for a small model: 64 samples, short texts, the half that is nearest to its domain.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where models and data are kept [default: target/assets].
    #[arg(long)]
    assets: Option<PathBuf>,
    /// Where the buffer goes.
    #[arg(long, default_value = "target/synthesis")]
    out: PathBuf,
}

/// Samples in a call: enough to keep a batch full, few enough to be lost.
const CHUNK_SIZE: usize = 128;

fn main() -> Result<()> {
    keep_memory();
    let args = Args::parse();
    let config = config(&args)?;
    let bars = Arc::new(Bars::new());
    let device = Device::flex();
    let assets = Assets::open(args.assets.clone(), bars.clone())?;
    let lab = LabData::new(
        PublicSets {
            adv_bench: assets.adv_bench()?,
            do_not_answer: assets.do_not_answer()?,
            benign_edgy: assets.benign_edgy()?,
            benign_plain: assets.benign_pairs()?,
        },
        0, // as in gr_sap
    );

    let (path, adapter) = match &args.model {
        Some(path) => (path.clone(), args.adapter.clone()),
        None => {
            let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/support/data/aligned");
            (assets.smollm2()?, Some(ours))
        }
    };
    let base = ChatModel::load(&path, &device)
        .with_context(|| format!("cannot load {}", path.display()))?;
    let mut aligned = base.clone();
    let mut provenance = Provenance::new(path.file_name().unwrap_or_default().to_string_lossy())
        .with_hash("model", digest_of(&path)?)
        .with_version("grsap-replay", env!("CARGO_PKG_VERSION"));
    if let Some(template) = base.template() {
        let digest = digest_hex(template.source().as_bytes());
        provenance = provenance.with_hash("chat_template", digest);
    }
    if let Some(adapter) = &adapter {
        load_adapter(aligned.decoder_mut(), adapter).context("the adapter")?;
        merge(aligned.decoder_mut());
        provenance = provenance.with_hash("adapter", digest_of(adapter)?);
    }
    let minilm = assets.minilm()?;
    let encoder = SentenceEncoder::load(&minilm, &device)?;
    provenance = provenance.with_hash("embedder", digest_of(&minilm)?);
    let judge = harm_judge(&assets, &encoder, &lab, &args.out, &bars)?;
    provenance = provenance.with_hash("judge", digest_of(&args.out.join("harm_judge.json"))?);

    let synthesis = Synthesis::new(config)?
        .with_chunk_size(CHUNK_SIZE)
        .with_evaluation_prompts(lab.eval_prompts().map(|row| row.text.as_str()))
        .with_provenance(provenance);
    let models = SynthesisModels {
        generator: &aligned,
        perplexity: &base,
        embedder: &encoder,
        // A query may happen to be a prompt that the judge knows; it only filters here.
        guard: &CombinedGuard::new(judge.allowing_fitted_prompts(), KeywordRefusal::default()),
    };
    synthesis.run_in(&args.out, models, bars.as_ref())?;

    // What is on the disk is what counts.
    let buffer = synthesis.verify(&args.out)?;
    let total = buffer.yields().total();
    for stage in buffer.stages() {
        println!(
            "{:>17}: {:>6} kept, {:>5} dropped, {:>6.0} s",
            stage.name, stage.kept, stage.rejected, stage.seconds
        );
    }
    println!(
        "{} of {} candidates can be trained on; {} tokens sampled in {:.0} s",
        total.num_trainable(),
        total.num_samples,
        buffer.manifest().num_tokens,
        buffer
            .stages()
            .iter()
            .map(|stage| stage.seconds)
            .sum::<f64>()
    );
    println!("written to {} and verified", args.out.display());
    Ok(())
}

/// The file's settings; without one the paper's, as far as so small a model can follow them. Options
/// that are given count more.
fn config(args: &Args) -> Result<SynthesisConfig> {
    let mut config = match &args.config {
        Some(path) => {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?
        }
        None => {
            let mut config = SynthesisConfig {
                seed: 1,
                // Cosines are lower for this encoder than for the paper's.
                domain_relevance: Some(DomainRelevanceConfig {
                    threshold: Threshold::Quantile(0.5),
                    ..Default::default()
                }),
                ..Default::default()
            };
            config.extraction.num_samples = 64;
            config.extraction.sampling.max_new_tokens = 64;
            config.responses.sampling.max_new_tokens = 128;
            config.revision.sampling.max_new_tokens = 128;
            config
        }
    };
    config.seed = args.seed.unwrap_or(config.seed);
    config.extraction.num_samples = args.samples.unwrap_or(config.extraction.num_samples);
    Ok(config)
}

/// SHA-256 of a file; of a folder, that of the names and hashes of its files.
fn digest_of(path: &Path) -> Result<String> {
    if path.is_file() {
        return file_hash(path);
    }
    let mut lines = Vec::new();
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry?;
        // The hub's cache has links to files.
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            lines.push(format!("{} {name}\n", file_hash(&entry.path())?));
        }
    }
    lines.sort();
    Ok(digest_hex(lines.concat().as_bytes()))
}
