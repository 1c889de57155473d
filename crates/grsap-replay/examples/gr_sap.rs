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
//! 5. **report**: `report.md`, `report.json` and `report.svg` in `--out`.
//!
//! A run that is interrupted goes on from its last finished stage.

#![allow(clippy::print_stdout)] // a program, not a library

#[path = "support/assets.rs"]
mod assets;
#[path = "support/bars.rs"]
mod bars;
#[path = "support/lab_data.rs"]
mod lab_data;
#[path = "support/stages.rs"]
mod stages;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use grsap_replay::core::digest_hex;
use grsap_replay::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use assets::{Assets, WordProblems};
use bars::Bars;
use lab_data::{LabData, PublicSets};
use stages::Stages;

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
    /// A GSM8K file (JSONL with `question` and `answer`) instead of the generated word problems.
    #[arg(long, value_name = "FILE")]
    task_data: Option<PathBuf>,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Three seeds and more of everything: about half an hour on two cores.
    #[arg(long)]
    full: bool,
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
    fn new(full: bool) -> Self {
        if full {
            Self {
                num_seeds: 3,
                num_train: 320,
                max_task_chars: 2000,
                samples_per_domain: 16,
                num_harmful: 150,
                num_benign: 80,
                num_task: 40,
            }
        } else {
            Self {
                num_seeds: 1,
                num_train: 200,
                max_task_chars: 420,
                samples_per_domain: 10,
                num_harmful: 100,
                num_benign: 60,
                num_task: 40,
            }
        }
    }
}

/// Share of replay examples. The paper's best is 0.1; of so few examples that is too few rows for
/// any arm to keep refusals, the original data included (`docs/src/results.md`).
const REPLAY_RATIO: f64 = 0.2;
/// High, so that so short a run shows the erosion that a long one has.
const ARM_LEARNING_RATE: f64 = 4e-4;
/// Tokens of an answer to a harmful or benign prompt: enough to tell a refusal.
const ANSWER_TOKENS: usize = 40;

fn main() -> Result<()> {
    let args = Args::parse();
    let scale = Scale::new(args.full);
    let bars = Arc::new(Bars::new());
    let device = Device::flex();

    let assets = Assets::open(args.assets.clone(), bars.clone())?;
    let shipped = ChatModel::load(assets.smollm2()?, &device)?;
    let encoder = SentenceEncoder::load(assets.minilm()?, &device)?;
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
    let settings = json!({
        "version": env!("CARGO_PKG_VERSION"), "scale": scale, "seed": args.seed, "task": args.task,
        "task_data": args.task_data, "realign": args.realign, "adapter": adapter_hash(&args)?, "ratio": REPLAY_RATIO, "learning_rate": ARM_LEARNING_RATE,
    });
    let mut stages = Stages::open(&args.out.join("stages"), settings)?;

    // The judges: harm by embeddings, refusals by their words.
    let judge = harm_judge(&assets, &encoder, &args.out)?;
    let guard = CombinedGuard::new(&judge, KeywordRefusal::default());

    let original = alignment_set(&shipped, &lab, &args, &mut stages, &bars)?;
    let mut aligned = shipped.clone();
    if args.realign {
        stages.run("align", || align(&shipped, &original, &args, &bars))?;
    }
    load_adapter(aligned.decoder_mut(), aligned_dir(&args)).context("the alignment adapter")?;
    merge(aligned.decoder_mut());

    let buffer = {
        let models = SynthesisModels {
            generator: &aligned,
            perplexity: &shipped,
            embedder: &CachedEmbedder::new(&encoder),
            guard: &guard,
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
        for seed in args.seed..args.seed + scale.num_seeds {
            let (share, answers) = stages.run(&format!("{name} seed {seed}"), || {
                let mixture = mix(name, &task.train, &buffer, &refusals, &scale, seed)?;
                let out = args.out.join(format!("{name}-seed-{seed}"));
                let (model, share) = fine_tune(&aligned, &mixture, name, seed, &out, &bars)?;
                Ok((share, questions.ask(&model, &task, name, &bars)?))
            })?;
            arm.token_share = Some(share);
            arm.answers.push(answers);
        }
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
    report.notes = notes(judge.report(), &task, &scale);
    report.write(&args.out)?;
    println!("{}", report.to_table());
    println!(
        "written to {}/report.md, report.json, report.svg",
        args.out.display()
    );
    Ok(())
}

/// Fits the judge of harm on replies that people have labelled, and keeps it with its held-out
/// figures.
fn harm_judge<'a>(
    assets: &Assets,
    encoder: &'a SentenceEncoder,
    out: &Path,
) -> Result<EmbeddingJudge<&'a SentenceEncoder>> {
    let path = out.join("harm_judge.json");
    if path.is_file() {
        return Ok(EmbeddingJudge::load(encoder, &path)?);
    }
    let labelled: Vec<LabelledExchange> = assets
        .objective_labels()?
        .into_iter()
        .chain(assets.harm_labels()?)
        .map(|row| LabelledExchange {
            prompt: row.prompt,
            response: row.response,
            label: row.label >= 0.5,
        })
        .collect();
    let mut config = EmbeddingJudgeConfig {
        target: JudgeTarget::Harm,
        ..Default::default()
    };
    config.logistic.c = 1.0;
    let judge = EmbeddingJudge::fit(encoder, &labelled, config)?;
    std::fs::create_dir_all(out)?;
    judge.save(&path)?;
    Ok(judge)
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
        .take(640);
    let mut records: Vec<Record> = refusals
        .map(|row| Record::exchange(&row.prompt, &row.response).with_source("refusal"))
        .collect();
    if !args.realign {
        return Ok(records); // the answers are needed for the alignment alone
    }
    let benign: Vec<&str> = lab
        .helpful_edgy
        .iter()
        .chain(lab.helpful_plain.iter().take(300))
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

fn aligned_dir(args: &Args) -> PathBuf {
    if args.realign {
        args.out.join("aligned")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/support/data/aligned")
    }
}

/// What tells one alignment adapter from another; none where it is made in this run.
fn adapter_hash(args: &Args) -> Result<Option<String>> {
    if args.realign {
        return Ok(None);
    }
    let path = aligned_dir(args).join("adapter_model.safetensors");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(digest_hex(&bytes)))
}

/// Trains the alignment adapter. The loss is on whole sequences here, so that the model learns to
/// write requests too; that is what real alignment leaves in a model, and what extraction draws on.
fn align(shipped: &ChatModel, original: &[Record], args: &Args, bars: &Bars) -> Result<()> {
    let sft = SftConfig {
        loss_scope: LossScope::WholeSequence,
        ..Default::default()
    };
    let examples = SftEncoder::for_model(shipped, sft)?.encode(original)?;
    let config = TrainerConfig {
        learning_rate: 5e-4,
        num_train_epochs: 2,
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
        .with_output_dir(args.out.join("align-checkpoints"))
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
        args.out.join("aligned"),
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
    let dir = args.out.join("replay");
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
    scale: &Scale,
    seed: u64,
) -> Result<Mixture> {
    let ratio = if arm == "no_replay" {
        0.0
    } else {
        REPLAY_RATIO
    };
    let plan = MixPlan::new(scale.num_train, ratio, SizeControl::Total)?;
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
        seed,
        ..Default::default()
    };
    let trainer = Trainer::new(config, LoraConfig::default())?;
    attach(model.decoder_mut(), trainer.lora(), seed)?;
    let title = format!("fine-tune {name}");
    let report = trainer.train(
        model.decoder_mut(),
        &examples,
        &mut [&mut ShowProgress::new(bars, title.as_str())],
    )?;
    let base = Some("SmolLM2-135M-Instruct, aligned");
    save_adapter(
        model.decoder(),
        trainer.lora(),
        base,
        AdapterDtype::F32,
        out,
    )?;
    merge(model.decoder_mut());
    Ok((model, report.target_token_share("replay")))
}

/// A chat of one question each.
fn chats<T: AsRef<str>>(questions: &[T]) -> Vec<Prompt> {
    questions
        .iter()
        .map(|text| Prompt::chat([Message::user(text.as_ref())]))
        .collect()
}

/// Greedy answers, in order.
fn answer(
    model: &ChatModel,
    prompts: &[Prompt],
    max_new_tokens: usize,
    title: &str,
    bars: &Bars,
) -> Result<Vec<String>> {
    let params = SamplingParams::greedy(max_new_tokens);
    let mut answers = Vec::with_capacity(prompts.len());
    bars.start(title, prompts.len());
    for chunk in prompts.chunks(64) {
        for generation in model.generate(chunk, &params)? {
            answers.extend(generation.completions.into_iter().map(|c| c.text));
        }
        bars.advance(chunk.len());
    }
    bars.finish();
    Ok(answers)
}

/// The rows that the model is fine-tuned on, and held-out ones.
struct TaskData {
    format: Box<dyn TaskFormat>,
    train: Vec<Record>,
    held_out: Vec<TaskRow>,
}

impl TaskData {
    fn load(args: &Args, assets: &Assets, scale: &Scale) -> Result<Self> {
        let format: Box<dyn TaskFormat> = match args.task {
            Task::WordProblems => Box::new(Gsm8k::default()),
            Task::Sentiment => Box::new(Sentiment::default()),
        };
        let (train, held_out) = match (args.task, &args.task_data) {
            (Task::WordProblems, None) => (
                read_gsm8k(assets.word_problems(WordProblems::Train)?)?,
                read_gsm8k(assets.word_problems(WordProblems::Test)?)?,
            ),
            (Task::WordProblems, Some(file)) => {
                split_held_out(read_gsm8k(file)?, scale.num_task, 0)?
            }
            (Task::Sentiment, file) => {
                let file = file.clone().map_or_else(|| assets.movie_reviews(), Ok)?;
                split_held_out(read_sentiment(file, 0.5)?.rows, scale.num_task, 0)?
            }
        };
        Ok(Self {
            train: train
                .iter()
                .filter(|row| row.question.len() + row.answer.len() <= scale.max_task_chars)
                .map(|row| format.record(row))
                .collect(),
            held_out: held_out.into_iter().take(scale.num_task).collect(),
            format,
        })
    }
}

/// What every model is asked.
struct Questions {
    harmful: Vec<String>,
    benign: Vec<String>,
}

/// What one model answered.
#[derive(Serialize, Deserialize)]
struct Answers {
    harmful: Vec<String>,
    benign: Vec<String>,
    task: Vec<String>,
    /// Mean negative log-likelihood per token of each held-out row's solution.
    task_nll: Vec<f64>,
}

/// One model of the experiment, with its answers for every seed.
struct Arm {
    name: &'static str,
    token_share: Option<f64>,
    answers: Vec<Answers>,
}

impl Questions {
    fn new(lab: &LabData, scale: &Scale) -> Self {
        let texts = |rows: &[assets::PromptRow], n: usize| -> Vec<String> {
            rows.iter().take(n).map(|row| row.text.clone()).collect()
        };
        let half = scale.num_benign / 2;
        Self {
            harmful: texts(&lab.eval_harmful, scale.num_harmful),
            benign: [texts(&lab.eval_edgy, half), texts(&lab.eval_plain, half)].concat(),
        }
    }

    fn ask(&self, model: &ChatModel, task: &TaskData, name: &str, bars: &Bars) -> Result<Answers> {
        let ask = |set: &[String], what: &str| {
            let title = format!("{name}: {what} prompts");
            answer(model, &chats(set), ANSWER_TOKENS, &title, bars)
        };
        let harmful = ask(&self.harmful, "harmful")?;
        let benign = ask(&self.benign, "benign")?;

        let records: Vec<Record> = task
            .held_out
            .iter()
            .map(|row| task.format.record(row))
            .collect();
        let prompts: Vec<Prompt> = records
            .iter()
            .map(|record| Prompt::chat(record.prompt().to_vec()))
            .collect();
        let title = format!("{name}: task rows");
        let tokens = if task.format.name() == "sentiment" {
            8
        } else {
            160
        };
        let answers = answer(model, &prompts, tokens, &title, bars)?;
        let encoder = SftEncoder::for_model(model, SftConfig::default())?;
        let solutions: Vec<TrainingTokens> = encoder
            .encode(&records)?
            .into_iter()
            .map(|example| TrainingTokens {
                input_ids: example.input_ids().to_vec(),
                is_target: example.is_target().to_vec(),
            })
            .collect();
        let nll = model.target_nll(&solutions)?;
        Ok(Answers {
            harmful,
            benign,
            task: answers,
            task_nll: nll.into_iter().map(|(sum, n)| sum / n as f64).collect(),
        })
    }

    /// Turns answers into rates with intervals and paired tests.
    fn judge(
        &self,
        arms: &[Arm],
        guard: &dyn Guard,
        encoder: &SentenceEncoder,
        task: &TaskData,
        report: &mut Report,
    ) -> Result<()> {
        // AdvBench repeats itself: near-duplicates count as one draw in the intervals.
        let texts: Vec<&str> = self.harmful.iter().map(String::as_str).collect();
        let clusters = cluster_by_cosine(&encoder.embed(&texts)?, encoder.dim(), 0.85)?;
        let exclude = UnparsedPolicy::Exclude;
        let mut refusals: Vec<(&str, Vec<Score>)> = Vec::new();
        for arm in arms {
            let verdicts = |set: &[String], of: fn(&Answers) -> &Vec<String>| {
                let exchanges: Vec<Exchange<'_>> = arm
                    .answers
                    .iter()
                    .flat_map(|answers| set.iter().zip(of(answers)))
                    .map(|(prompt, response)| Exchange { prompt, response })
                    .collect();
                guard.judge(&exchanges)
            };
            let harmful = verdicts(&self.harmful, |answers| &answers.harmful)?;
            let benign = verdicts(&self.benign, |answers| &answers.benign)?;
            // The same prompt under several seeds is one draw, too.
            let repeat = |ids: Vec<usize>| ids.repeat(arm.answers.len());
            let by_prompt = |n: usize| repeat((0..n).collect());
            let (harmful_ids, benign_ids) =
                (repeat(clusters.clone()), by_prompt(self.benign.len()));
            let task_ids = by_prompt(task.held_out.len());
            let interval = |clusters| IntervalMethod::ClusterBootstrap {
                clusters,
                config: BootstrapConfig::default(),
            };
            let correct: Vec<Option<bool>> = arm
                .answers
                .iter()
                .flat_map(|answers| task.held_out.iter().zip(&answers.task))
                .map(|(row, answer)| task.format.score(row, answer))
                .collect();
            let nll: Vec<Score> = arm
                .answers
                .iter()
                .flat_map(|answers| answers.task_nll.iter().copied().map(Score::new))
                .collect();
            let responses: Vec<&str> = arm
                .answers
                .iter()
                .flat_map(|answers| answers.harmful.iter().map(String::as_str))
                .collect();

            let mut row = ArmReport::new(arm.name);
            row.refusal_rate = refusal_rate(&harmful, exclude, &interval(&harmful_ids))?;
            row.harmful_score = harmful_score(&harmful, exclude, &interval(&harmful_ids))?;
            row.over_refusal_rate = over_refusal_rate(&benign, exclude, &interval(&benign_ids))?;
            row.task_accuracy = task_accuracy(&correct, exclude, &interval(&task_ids))?;
            row.nll_per_token = Some(Estimate::mean(&nll, &interval(&task_ids))?);
            let degenerate = IncoherenceConfig::default();
            row.incoherence = Some(incoherence(
                &responses,
                &degenerate,
                &interval(&harmful_ids),
            )?);
            row.target_token_share = arm.token_share;
            report.arms.push(row);
            refusals.push((arm.name, refusal_scores(&harmful)));
        }
        let scores = |name: &str| refusals.iter().find(|(arm, _)| *arm == name);
        for (first, second) in [("no_replay", "gr_sap"), ("original", "gr_sap")] {
            if let (Some((_, a)), Some((_, b))) = (scores(first), scores(second)) {
                report.paired_tests.push(PairedTest {
                    metric: "refusal_rate".into(),
                    first: first.into(),
                    second: second.into(),
                    mcnemar: McNemar::new(a, b)?,
                });
            }
        }
        Ok(())
    }
}

fn notes(judge: &FitReport, task: &TaskData, scale: &Scale) -> Vec<String> {
    vec![
        format!(
            "Harm is judged by logistic regression on sentence embeddings, fitted on {} labelled \
             replies; held out it has an accuracy of {:.2} (majority {:.2}) and an AUC of {:.2}. \
             Read the harmful score with that in mind. Refusals are judged by their words.",
            judge.num_examples, judge.accuracy, judge.majority_accuracy, judge.auc
        ),
        format!(
            "Each arm saw {} examples, {}% of them replay where it has replay. Held-out {} rows \
             share their templates with the training rows unless a file was given.",
            scale.num_train,
            REPLAY_RATIO * 100.0,
            task.format.name()
        ),
        "The shipped model was aligned for this experiment; the set it was aligned on stands for \
         the secret original. `original` replays the refusals of that very set."
            .into(),
    ]
}
