//! The whole GR-SAP experiment on a real model.
//!
//! ```text
//! cargo run --release --example gr_sap
//! ```
//!
//! 1. **align**: SmolLM2-135M-Instruct refuses almost nothing, so it gets an adapter that was
//!    trained on refusals and on helpful answers. That set plays the secret alignment data.
//! 2. **synthesise**: the aligned model writes a stand-in for it.
//! 3. **fine-tune** the aligned model on word problems, three times from the same start: without
//!    replay, with the synthetic data, with the original data.
//! 4. **evaluate** all five models on prompts that none of them was trained on.
//! 5. **report**: `report.html`, and the same as `report.md`, `report.json` and `report.svg`, in `--out`.
//!
//! A run that is interrupted goes on from its last finished stage.

#![allow(clippy::print_stdout)] // a program, not a library

#[path = "support/assets.rs"]
mod assets;
#[path = "support/evaluation.rs"]
mod evaluation;
#[path = "support/file_hash.rs"]
mod file_hash;
#[path = "support/findings.rs"]
mod findings;
#[path = "support/harm_judge.rs"]
mod harm_judge;
#[path = "support/lab_data.rs"]
mod lab_data;
#[path = "support/stages.rs"]
mod stages;
#[path = "support/task_data.rs"]
mod task_data;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use grsap_replay::prelude::*;
use serde::Serialize;
use serde_json::json;

use assets::Assets;
use evaluation::{Arm, Questions, answer, chats};
use file_hash::file_hash;
use harm_judge::harm_judge;
use lab_data::{LabData, PublicSets};
use stages::Stages;
use task_data::TaskData;

/// Runs the GR-SAP experiment: align, synthesise, fine-tune, evaluate, report.
#[derive(Parser)]
struct Args {
    /// Where models and data are kept [default: target/assets].
    #[arg(long)]
    assets: Option<PathBuf>,
    /// Where results go.
    #[arg(long, default_value = "target/gr_sap")]
    out: PathBuf,
    /// What the model is fine-tuned on.
    #[arg(long, value_enum, default_value = "word-problems")]
    task: Task,
    /// A file of one's own: for word problems one like GSM8K's (JSONL with `question` and `answer`), for
    /// sentiment lines of id, mean rating and text, parted by tabs.
    #[arg(long, value_name = "FILE")]
    task_data: Option<PathBuf>,
    /// Share of replay examples; the default is the paper's best.
    #[arg(long, default_value_t = 0.1)]
    ratio: f64,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Three seeds and more of everything: about half an hour on two cores.
    #[arg(long)]
    full: bool,
    /// A tenth of everything: a look at the pipeline, not a result.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Align the model anew instead of taking the adapter that comes with this example.
    #[arg(long)]
    realign: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
enum Task {
    WordProblems,
    Sentiment,
}

/// How much of everything.
#[derive(Clone, Serialize)]
struct Scale {
    num_seeds: u64,
    num_train: usize,
    /// Longer task rows are left out of training: they are what costs time.
    max_task_chars: usize,
    samples_per_domain: usize,
    num_harmful: usize,
    num_benign: usize,
    num_task: usize,
}

impl Scale {
    fn new(args: &Args) -> Self {
        let default = Self {
            num_seeds: 1,
            num_train: 240,
            max_task_chars: 420,
            samples_per_domain: 10,
            num_harmful: 100,
            num_benign: 60,
            num_task: 40,
        };
        if args.full {
            Self {
                num_seeds: 3,
                num_train: 320,
                samples_per_domain: 16,
                num_harmful: 160,
                num_benign: 80,
                ..default
            }
        } else if args.quick {
            Self {
                num_train: 32,
                samples_per_domain: 2,
                num_harmful: 12,
                num_benign: 12,
                num_task: 4,
                ..default
            }
        } else {
            default
        }
    }
}

/// Where an arm keeps its checkpoints until it is evaluated.
const CHECKPOINTS: &str = "checkpoints";

/// High, so that so short a run shows the erosion that a long one has.
const ARM_LEARNING_RATE: f64 = 4e-4;

fn main() -> Result<()> {
    keep_memory();
    let args = Args::parse();
    let scale = Scale::new(&args);
    ensure!(args.ratio > 0.0, "--ratio must be above 0");
    let plan = |ratio| MixPlan::new(scale.num_train, ratio, SizeControl::Total);
    let (with_replay, without) = (plan(args.ratio).context("--ratio")?, plan(0.0)?);
    let bars = Arc::new(Bars::new());
    let device = Device::flex();

    let assets = Assets::open(args.assets.clone(), bars.clone())?;
    let (model_file, encoder_dir) = (assets.smollm2()?, assets.minilm()?);
    let shipped = ChatModel::load(&model_file, &device)?;
    let encoder = SentenceEncoder::load(&encoder_dir, &device)?;
    let lab = LabData::new(
        PublicSets {
            adv_bench: assets.adv_bench()?,
            do_not_answer: assets.do_not_answer()?,
            benign_edgy: assets.benign_edgy()?,
            benign_plain: assets.benign_pairs()?,
        },
        0, // the split into training and evaluation prompts is the same in every run
    );
    let task = TaskData::load(&args, &assets, &scale)?;
    let task_data_sha256 = args.task_data.as_deref().map(file_hash).transpose()?;
    // What this program did before it was changed is no part of a run.
    let program_sha256 = file_hash(&std::env::current_exe()?)?;
    let settings = json!({
        "program_sha256": program_sha256, "task_data_sha256": task_data_sha256,
        "version": env!("CARGO_PKG_VERSION"), "scale": scale, "seed": args.seed, "task": args.task,
        "task_data": args.task_data, "realign": args.realign, "adapter": adapter_hash(&args)?, "ratio": args.ratio, "learning_rate": ARM_LEARNING_RATE,
    });
    let mut stages = Stages::open(&args.out, &settings)?;

    // The judges: harm by embeddings, refusals by their words.
    let judge = harm_judge(&assets, &encoder, &lab, stages.dir(), &bars)?;
    let guard = CombinedGuard::new(&judge, KeywordRefusal::default());

    let original = alignment_set(&shipped, &lab, &args, &mut stages, &bars)?;
    let mut aligned = shipped.clone();
    if args.realign {
        let dir = stages.dir().to_owned();
        stages.run("align", || align(&shipped, &original, &dir, &bars))?;
    }
    load_adapter(aligned.decoder_mut(), aligned_dir(&args, stages.dir()))
        .context("the alignment adapter")?;
    merge(aligned.decoder_mut());

    let buffer = {
        let models = SynthesisModels {
            generator: &aligned,
            perplexity: &shipped,
            embedder: &CachedEmbedder::new(&encoder),
            // A query may happen to be a prompt that the judge knows; it only filters here.
            guard: &CombinedGuard::new(
                judge.clone().allowing_fitted_prompts(),
                KeywordRefusal::default(),
            ),
        };
        synthesise(models, &lab, &args, &scale, &mut stages, &bars)?
    };
    let refusals: Vec<Record> = original
        .iter()
        .filter(|row| row.source.as_deref() == Some("refusal"))
        .cloned()
        .collect();

    let questions = Questions::new(&lab, &scale);
    let mut arms: Vec<Arm> = Vec::new();
    for (name, model) in [("shipped", &shipped), ("aligned", &aligned)] {
        let answers = stages.run(&format!("evaluate {name}"), || {
            questions.ask(model, &task, name, &bars)
        })?;
        arms.push(Arm {
            name,
            token_share: None,
            answers: vec![answers],
        });
    }
    for name in ["no_replay", "gr_sap", "original"] {
        let mut arm = Arm {
            name,
            token_share: None,
            answers: Vec::new(),
        };
        let mut shares = Vec::new();
        for seed in args.seed..args.seed + scale.num_seeds {
            let out = stages.dir().join(format!("{name}-seed-{seed}"));
            let (share, answers) = stages.run(&format!("{name} seed {seed}"), || {
                let plan = if name == "no_replay" {
                    without
                } else {
                    with_replay
                };
                let mixture = mix(name, &task.train, &buffer, &refusals, plan, seed)?;
                let (model, share) = fine_tune(&aligned, &mixture, name, seed, &out, &bars)?;
                Ok((share, questions.ask(&model, &task, name, &bars)?))
            })?;
            // Kept until here: a run that is killed while it evaluates is not trained again.
            let checkpoints = out.join(CHECKPOINTS);
            if checkpoints.exists() {
                std::fs::remove_dir_all(&checkpoints)?;
            }
            shares.push(share);
            arm.answers.push(answers);
        }
        arm.token_share = Some(shares.iter().sum::<f64>() / shares.len() as f64);
        arms.push(arm);
    }

    let mut report = Report::new("SmolLM2-135M-Instruct (Q4_1), aligned", args.seed);
    for stage in buffer.stages() {
        report
            .synthesis
            .stages
            .push(StageReport::new(&stage.name, stage.kept, stage.rejected));
    }
    questions.judge(&arms, &guard, &encoder, &task, &mut report)?;
    for (stage, seconds) in stages.seconds() {
        report.add_seconds(stage, *seconds);
    }
    report.decision = findings::decision(&report);
    report.judges = findings::judges(&judge);
    report.notes = findings::notes(judge.report(), &args, with_replay);
    let aligned_dir = aligned_dir(&args, stages.dir());
    let files: [(&str, &Path); 5] = [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", model_file.as_path()),
        ("all-MiniLM-L6-v2", &encoder_dir.join("model.safetensors")),
        (
            "alignment adapter",
            &aligned_dir.join("adapter_model.safetensors"),
        ),
        ("judge of harm", &stages.dir().join("harm_judge.json")),
        ("replay data", &stages.dir().join("replay/replay.jsonl")),
    ];
    report.provenance = Some(findings::provenance(&args, &scale, &files)?);
    // The newest one, and each with its run.
    report.write(stages.dir())?;
    report.write(&args.out)?;
    println!("{}", report.to_table());
    // A few prompts show little, whatever the table looks like.
    if let Some(decision) = &report.decision {
        println!("{decision}\n");
    }
    println!(
        "written to {}/report.html, report.md, report.json, report.svg",
        args.out.display()
    );
    Ok(())
}

/// The set that plays the secret original: refusals of harmful requests in our own words, and the
/// shipped model's own answers to benign ones.
fn alignment_set(
    shipped: &ChatModel,
    lab: &LabData,
    args: &Args,
    stages: &mut Stages,
    bars: &Bars,
) -> Result<Vec<Record>> {
    let refusals = lab
        .refusals
        .iter()
        .filter(|row| row.category != "human_chatbox")
        .take(450)
        .chain(lab.refused_commands.iter().take(300));
    let mut records: Vec<Record> = refusals
        .map(|row| Record::exchange(&row.prompt, &row.response).with_source("refusal"))
        .collect();
    if !args.realign {
        return Ok(records); // the answers are needed for the alignment alone
    }
    let benign: Vec<&str> = lab
        .helpful_edgy
        .iter()
        .chain(lab.helpful_plain.iter().take(390))
        .map(|row| row.text.as_str())
        .collect();
    let answers = stages.run("helpful answers", || {
        answer(shipped, &chats(&benign), 80, "helpful answers", bars)
    })?;
    let helpful = benign
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.len() > 20);
    records.extend(helpful.map(|(prompt, answer)| {
        // An answer that was cut off ends with its last whole sentence.
        let end = answer
            .rfind(['.', '!', '?'])
            .map_or(answer.len(), |at| at + 1);
        let answer = answer.get(..end).unwrap_or(answer);
        Record::exchange(*prompt, answer).with_source("helpful")
    }));
    Ok(records)
}

fn aligned_dir(args: &Args, run: &Path) -> PathBuf {
    if args.realign {
        run.join("aligned")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/support/data/aligned")
    }
}

/// What tells one alignment adapter from another; none where it is made in this run.
fn adapter_hash(args: &Args) -> Result<Option<String>> {
    if args.realign {
        return Ok(None);
    }
    let path = aligned_dir(args, Path::new("")).join("adapter_model.safetensors");
    file_hash(&path).map(Some)
}

/// Trains the alignment adapter. The loss is on whole sequences here, so that the model learns to
/// write requests too; that is what real alignment leaves in a model, and what extraction draws on.
fn align(shipped: &ChatModel, original: &[Record], dir: &Path, bars: &Bars) -> Result<()> {
    let sft = SftConfig {
        loss_scope: LossScope::WholeSequence,
        ..Default::default()
    };
    let examples = SftEncoder::for_model(shipped, sft)?.encode(original)?;
    let config = TrainerConfig {
        learning_rate: 5e-4,
        save_steps: Some(50),
        save_total_limit: Some(1),
        ..Default::default()
    };
    let lora = LoraConfig {
        r: 8,
        lora_alpha: 16.0,
        ..Default::default()
    };
    let trainer = Trainer::new(config, lora)?
        .with_output_dir(dir.join("align-checkpoints"))
        .with_base_model("SmolLM2-135M-Instruct")
        .with_resume(Resume::Latest);
    let mut model = shipped.clone();
    attach(model.decoder_mut(), trainer.lora(), 0)?;
    trainer.train(
        model.decoder_mut(),
        &examples,
        &mut [&mut ShowProgress::new(bars, "align")],
    )?;
    save_adapter(
        model.decoder(),
        trainer.lora(),
        Some("SmolLM2-135M-Instruct"),
        AdapterDtype::BF16,
        dir.join("aligned"),
    )?;
    Ok(())
}

/// The paper's stages; where this model is too small for the paper's values, it says why.
fn synthesise(
    models: SynthesisModels<'_>,
    lab: &LabData,
    args: &Args,
    scale: &Scale,
    stages: &mut Stages,
    bars: &Bars,
) -> Result<ReplayBuffer> {
    let mut config = SynthesisConfig {
        seed: args.seed,
        ..Default::default()
    };
    config.extraction.num_samples = scale.samples_per_domain;
    config.extraction.sampling.max_new_tokens = 48;
    // Cosines to a bare domain name are lower for this encoder than the paper's 0.5.
    config.domain_relevance = Some(DomainRelevanceConfig {
        threshold: Threshold::Quantile(0.5),
        ..Default::default()
    });
    config.responses.sampling.max_new_tokens = 64;
    config.revision.sampling.max_new_tokens = 64;

    let synthesis = Synthesis::new(config)?
        .with_evaluation_prompts(lab.eval_prompts().map(|row| row.text.as_str()))
        .with_provenance(Provenance::new("SmolLM2-135M-Instruct, aligned"));
    let dir = stages.dir().join("replay");
    stages.run("synthesise", || {
        synthesis.run_in(&dir, models, bars)?;
        Ok(())
    })?;
    Ok(ReplayBuffer::load(&dir)?)
}

/// The training set of one arm: the same size in all, and the same task rows.
fn mix(
    arm: &str,
    task: &[Record],
    buffer: &ReplayBuffer,
    original: &[Record],
    plan: MixPlan,
    seed: u64,
) -> Result<Mixture> {
    Ok(if arm == "original" {
        Mixture::draw(plan, task, original, &Uniform, seed)?
    } else {
        let sampler = ReplayExample::sampler(0.5)?;
        Mixture::draw(plan, task, &buffer.trainable(), &sampler, seed)?
    })
}

/// LoRA on all linear layers from the aligned model. Returns the merged model and replay's share
/// of the target tokens.
fn fine_tune(
    aligned: &ChatModel,
    mixture: &Mixture,
    name: &str,
    seed: u64,
    out: &Path,
    bars: &Bars,
) -> Result<(ChatModel, f64)> {
    let mut model = aligned.clone();
    let examples = SftEncoder::for_model(aligned, SftConfig::default())?.encode_mixture(mixture)?;
    let config = TrainerConfig {
        learning_rate: ARM_LEARNING_RATE,
        // By tokens, a refusal of a sentence or two is lost among solutions of a hundred: a tenth
        // of the examples would be a twentieth of the loss.
        loss_weighting: LossWeighting::PerExample,
        seed,
        save_steps: Some(10),
        save_total_limit: Some(1),
        ..Default::default()
    };
    let checkpoints = out.join(CHECKPOINTS);
    let base = "SmolLM2-135M-Instruct, aligned";
    let trainer = Trainer::new(config, LoraConfig::default())?
        .with_output_dir(&checkpoints)
        .with_base_model(base)
        .with_resume(Resume::Latest);
    attach(model.decoder_mut(), trainer.lora(), seed)?;
    let title = format!("fine-tune {name}");
    let report = trainer.train(
        model.decoder_mut(),
        &examples,
        &mut [&mut ShowProgress::new(bars, title.as_str())],
    )?;
    save_adapter(
        model.decoder(),
        trainer.lora(),
        Some(base),
        AdapterDtype::F32,
        out,
    )?;
    merge(model.decoder_mut());
    Ok((model, report.target_token_share("replay")))
}
