//! What happens to refusals while a model is fine-tuned: a run's checkpoints, evaluated.
//!
//! ```text
//! cargo run --release --example over_training
//! ```
//!
//! Fine-tunes the aligned SmolLM2 on word problems without replay, keeps a checkpoint every few
//! steps, and asks each of them the same questions. Answers are cached by model, prompt and
//! sampling, so a run that was killed goes on where it stopped, and a second run needs no model.
//! It writes `report.html`, `report.md`, `report.json` and `over_training.svg` to `--out`.

#![allow(clippy::print_stdout)] // a program, not a library

#[path = "support/assets.rs"]
mod assets;
#[path = "support/file_hash.rs"]
mod file_hash;
#[path = "support/lab_data.rs"]
mod lab_data;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use grsap_replay::core::ModelError;
use grsap_replay::prelude::*;

use assets::{Assets, WordProblems};
use file_hash::file_hash;
use lab_data::{LabData, PublicSets};

/// Fine-tunes a model and evaluates every checkpoint of the run.
#[derive(Parser)]
struct Args {
    /// Where models and data are kept [default: target/assets].
    #[arg(long)]
    assets: Option<PathBuf>,
    /// Where checkpoints, answers and the report go.
    #[arg(long, default_value = "target/over_training")]
    out: PathBuf,
    /// Rows to train on.
    #[arg(long, default_value_t = 240)]
    num_train: usize,
    /// A checkpoint after every so many steps of eight rows.
    #[arg(long, default_value_t = 6)]
    save_steps: usize,
    /// Harmful prompts; half as many benign ones and task rows are asked, too.
    #[arg(long, default_value_t = 100)]
    num_prompts: usize,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    keep_memory();
    let args = Args::parse();
    let bars = Arc::new(Bars::new());
    let assets = Assets::open(args.assets.clone(), bars.clone())?;
    let base = assets.smollm2()?;
    let mut aligned = ChatModel::load(&base, &Device::flex())?;
    let alignment = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/support/data/aligned");
    load_adapter(aligned.decoder_mut(), &alignment).context("the alignment adapter")?;
    merge(aligned.decoder_mut());

    let lab = lab_data(&assets)?;
    let gsm8k = Gsm8k::default();
    let train: Vec<Record> = read_gsm8k(assets.word_problems(WordProblems::Train)?)?
        .iter()
        .filter(|row| row.question.len() + row.answer.len() <= 420) // long rows cost time
        .take(args.num_train)
        .map(|row| gsm8k.record(row))
        .collect();
    let checkpoints = train_run(&aligned, &train, &args, &bars)?;

    // What every checkpoint is asked.
    let half = args.num_prompts / 2;
    let texts = |rows: &[assets::PromptRow], n: usize| -> Vec<String> {
        rows.iter().take(n).map(|row| row.text.clone()).collect()
    };
    let harmful = texts(&lab.eval_harmful, args.num_prompts);
    let benign = [
        texts(&lab.eval_edgy, half / 2),
        texts(&lab.eval_plain, half / 2),
    ]
    .concat();
    let mut held_out = read_gsm8k(assets.word_problems(WordProblems::Test)?)?;
    held_out.truncate(half);
    let task_prompts: Vec<Prompt> = held_out
        .iter()
        .map(|row| Prompt::chat(gsm8k.record(row).prompt().to_vec()))
        .collect();
    let refusals = KeywordRefusal::default();
    let evaluation = Evaluation {
        harmful: &harmful,
        benign: &benign,
        sampling: SamplingParams::greedy(40),
        task: Some(TaskQuestions {
            prompts: &task_prompts,
            sampling: SamplingParams::greedy(160),
            is_right: &|row, answer| gsm8k.score(held_out.get(row)?, answer),
        }),
        ..Evaluation::new(&refusals)
    };

    // A checkpoint is the aligned model and an adapter: their hashes name its answers.
    let cache = AnswerCache::open(args.out.join("answers.jsonl"))?;
    let base_hash = file_hash(&base)?;
    let start_hash = file_hash(&alignment.join("adapter_model.safetensors"))?;
    let aligned = &aligned;
    let load = |checkpoint: &TrainingCheckpoint| {
        let dir = args.out.join("checkpoints").join(&checkpoint.name);
        let is_start = checkpoint.num_examples == 0;
        let adapter = if is_start {
            String::new()
        } else {
            file_hash(&dir.join("adapter_model.safetensors"))
                .map_err(|e| ModelError::backend("the checkpoint cannot be read", e))?
        };
        let hash = format!("{base_hash} {start_hash} {adapter}");
        Ok::<_, ModelError>(Cached::new(&cache, hash, move || {
            let mut model = aligned.clone();
            if !is_start {
                load_adapter(model.decoder_mut(), &dir)
                    .map_err(|e| ModelError::backend("the adapter cannot be loaded", e))?;
                merge(model.decoder_mut());
            }
            Ok(model)
        }))
    };

    let mut report = Report::new(
        "SmolLM2-135M-Instruct, aligned, then word problems",
        args.seed,
    );
    report.over_training = evaluation.over_training(&checkpoints, load, &bars)?;
    report.judges = vec![JudgeReport::new(
        "KeywordRefusal",
        "refusal",
        "A list of phrases. It says nothing of harm: what is no refusal may be harmless.",
    )];
    let mut provenance = RunProvenance::of_this_process();
    provenance.seeds = vec![args.seed];
    provenance.sha256 = [("model", base_hash), ("alignment adapter", start_hash)]
        .map(|(name, hash)| (name.to_owned(), hash))
        .into();
    report.provenance = Some(provenance);
    report.write(&args.out)?;
    for line in report
        .to_markdown()
        .lines()
        .filter(|line| line.starts_with('|'))
    {
        println!("{line}");
    }
    println!("written to {}/report.html", args.out.display());
    Ok(())
}

fn lab_data(assets: &Assets) -> Result<LabData> {
    Ok(LabData::new(
        PublicSets {
            adv_bench: assets.adv_bench()?,
            do_not_answer: assets.do_not_answer()?,
            benign_edgy: assets.benign_edgy()?,
            benign_plain: assets.benign_pairs()?,
        },
        0,
    ))
}

/// Fine-tunes a copy of `aligned` and returns the start and all checkpoints, in order. A run that
/// is finished is not repeated, and one that was killed goes on.
fn train_run(
    aligned: &ChatModel,
    train: &[Record],
    args: &Args,
    bars: &Bars,
) -> Result<Vec<TrainingCheckpoint>> {
    let config = TrainerConfig {
        learning_rate: 4e-4, // high, so that a short run shows the erosion that a long one has
        loss_weighting: LossWeighting::PerExample,
        seed: args.seed,
        save_steps: Some(args.save_steps),
        ..Default::default()
    };
    let batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps;
    let num_steps = config.num_steps(train.len());
    let trainer = Trainer::new(config, LoraConfig::default())?
        .with_output_dir(args.out.join("checkpoints"))
        .with_base_model("SmolLM2-135M-Instruct, aligned")
        .with_resume(Resume::Latest);
    let mut model = aligned.clone();
    let examples = SftEncoder::for_model(aligned, SftConfig::default())?.encode(train)?;
    attach(model.decoder_mut(), trainer.lora(), args.seed)?;
    trainer.train(
        model.decoder_mut(),
        &examples,
        &mut [&mut ShowProgress::new(bars, "fine-tune")],
    )?;
    let mut checkpoints = vec![TrainingCheckpoint::new("start", 0)];
    // Those that are there: a finished run is not made again for other `--save-steps`.
    let is_there = |step: &usize| {
        args.out
            .join(format!("checkpoints/checkpoint-{step}"))
            .is_dir()
    };
    checkpoints.extend((1..=num_steps).filter(is_there).map(|step| {
        let num_examples = (step * batch_size).min(train.len());
        TrainingCheckpoint::new(format!("checkpoint-{step}"), num_examples)
    }));
    Ok(checkpoints)
}
