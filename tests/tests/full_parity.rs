//! Full fine-tuning against transformers: fifty steps of tiny models of every family, with
//! accumulation, packed passes and gradient checkpointing, and twenty of SmolLM2. The fixtures and
//! the scripts that made them are in `fixtures/full_tiny` and `fixtures/full_smollm2`.

// A failure here is the message.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use grsap_lora::{
    BoxError, Callback, FullFineTuning, Resume, SftExample, StepReport, Trainer, TrainerConfig,
};
use grsap_model::{
    ChatModel, Decoder, DecoderConfig, DecoderInput, SafetensorsFile, SaveConfig, TensorSource,
    WeightDtype, WeightFormat,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn fixture(path: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/full_tiny");
    fixtures.join(path)
}

fn json<T: DeserializeOwned>(path: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Adam {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

/// What the scripts trained with.
#[derive(Deserialize)]
struct Settings {
    lr: f64,
    min_lr_rate: f64,
    warmup_ratio: f64,
    max_grad_norm: f64,
    adamw: Adam,
}

impl Settings {
    fn config(&self) -> TrainerConfig {
        TrainerConfig {
            learning_rate: self.lr,
            warmup_ratio: self.warmup_ratio,
            min_lr_rate: self.min_lr_rate,
            weight_decay: self.adamw.weight_decay,
            adam_beta1: self.adamw.betas.0,
            adam_beta2: self.adamw.betas.1,
            adam_epsilon: self.adamw.eps,
            max_grad_norm: Some(self.max_grad_norm),
            shuffle: false,
            ..TrainerConfig::default()
        }
    }
}

#[derive(Deserialize)]
struct Trajectory {
    micro_batches: usize,
    micro_batch_size: usize,
    kl_coef: f64,
    ema_decay: f64,
    #[serde(flatten)]
    settings: Settings,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    model: String,
    has_final: bool,
    with_kl: bool,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    lr: f64,
    loss: f64,
    #[serde(default)]
    kl: Option<f64>,
    grad_norm: f64,
    num_target_tokens: usize,
}

#[derive(Deserialize)]
struct Examples {
    #[serde(alias = "cases")]
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    input_ids: Vec<u32>,
    labels: Vec<i64>,
    #[serde(default)]
    group: Option<String>,
}

fn examples(path: &str) -> Vec<SftExample> {
    let Examples { examples } = json(path);
    let example = |example: Example| {
        let targets = example.labels.iter().map(|&label| label >= 0).collect();
        let made = SftExample::new(example.input_ids, targets).unwrap();
        match example.group {
            Some(group) => made.with_group(group),
            None => made,
        }
    };
    examples.into_iter().map(example).collect()
}

fn decoder(run: &Run) -> Decoder {
    let dir = fixture(&run.model);
    let config = DecoderConfig::from_hf_file(&dir.join("config.json")).unwrap();
    let weights = SafetensorsFile::open(dir.join("model.safetensors")).unwrap();
    Decoder::load(&weights, &config, &Device::flex()).unwrap()
}

impl Trajectory {
    fn config(&self, run: &Run) -> TrainerConfig {
        TrainerConfig {
            per_device_train_batch_size: self.micro_batch_size,
            gradient_accumulation_steps: self.micro_batches,
            kl_coef: if run.with_kl { self.kl_coef } else { 0.0 },
            ema_decay: run.with_kl.then_some(self.ema_decay),
            ..self.settings.config()
        }
    }
}

#[derive(Default)]
struct Steps(Vec<StepReport>);

impl Callback for Steps {
    fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
        self.0.push(report.clone());
        Ok(ControlFlow::Continue(()))
    }
}

fn train(decoder: &mut Decoder, config: TrainerConfig, examples: &[SftExample]) -> Vec<StepReport> {
    let mut steps = Steps::default();
    Trainer::new(config, FullFineTuning::default())
        .unwrap()
        .train(decoder, examples, &mut [&mut steps])
        .unwrap();
    steps.0
}

fn close(got: f64, expected: f64, absolute: f64, what: &str) {
    let error = (got - expected).abs();
    assert!(error <= absolute, "{what}: {got}, expected {expected}");
}

/// The weights as files have them.
fn saved(decoder: &Decoder) -> (tempfile::TempDir, SafetensorsFile) {
    let dir = tempfile::tempdir().unwrap();
    let config = SaveConfig {
        dtype: WeightDtype::F32,
        ..SaveConfig::default()
    };
    decoder
        .save_pretrained(dir.path().join("m"), &config)
        .unwrap();
    let file = SafetensorsFile::open(dir.path().join("m")).unwrap();
    (dir, file)
}

/// How alike two changes of the same weights are, over all weights; and the largest difference.
fn compare(run: &Run, decoder: &Decoder) -> (f64, f32) {
    let (_dir, got) = saved(decoder);
    let start = SafetensorsFile::open(fixture(&run.model).join("model.safetensors")).unwrap();
    let path = fixture(&format!("final_{}.safetensors", run.name));
    let expected = SafetensorsFile::open(path).unwrap();
    let (mut dot, mut ours, mut theirs, mut worst) = (0.0, 0.0, 0.0, 0.0_f32);
    let names = got.names();
    assert!(names.iter().all(|name| expected.names().contains(name)));
    for name in names {
        let start = start.read_f32(&name).unwrap();
        let got = got.read_f32(&name).unwrap();
        let expected = expected.read_f32(&name).unwrap();
        assert_eq!(got.len(), expected.len(), "{name}");
        for ((start, got), expected) in start.iter().zip(got).zip(expected) {
            let (a, b) = (f64::from(got - start), f64::from(expected - start));
            dot += a * b;
            ours += a * a;
            theirs += b * b;
            worst = worst.max((got - expected).abs());
        }
    }
    (dot / f64::sqrt(ours * theirs), worst)
}

#[test]
fn fifty_steps_of_every_family_are_those_of_transformers() {
    let trajectory: Trajectory = json("trajectory.json");
    assert_eq!(trajectory.runs.len(), 9);
    for run in &trajectory.runs {
        let mut decoder = decoder(run);
        let steps = train(
            &mut decoder,
            trajectory.config(run),
            &examples("examples.json"),
        );
        assert_eq!(steps.len(), run.steps.len());
        let mut worst = 0.0_f64;
        for (got, expected) in steps.iter().zip(&run.steps) {
            let name = format!("{} step {}", run.name, got.step);
            close(got.lr, expected.lr, 1e-12, &name);
            assert_eq!(got.num_target_tokens, expected.num_target_tokens, "{name}");
            close(got.loss, expected.loss, 1e-4, &name);
            close(got.grad_norm, expected.grad_norm, 2e-3, &name);
            assert_eq!(got.kl.is_some(), expected.kl.is_some());
            if let (Some(got), Some(expected)) = (got.kl, expected.kl) {
                close(got, expected, 1e-4, &format!("{name}: divergence"));
            }
            worst = worst.max((got.loss - expected.loss).abs());
        }
        let what = match run.has_final {
            true => {
                let (cosine, difference) = compare(run, &decoder);
                assert!(cosine > 0.999, "{}: cosine {cosine}", run.name);
                format!(", cosine of the change {cosine:.6}, weights off by {difference:.1e}")
            }
            false => String::new(),
        };
        println!("{}: worst loss off by {worst:.1e}{what}", run.name);
    }
}

#[derive(Deserialize)]
struct LargeRun {
    batch_size: usize,
    #[serde(flatten)]
    settings: Settings,
    steps: Vec<Step>,
    cases: Vec<Change>,
}

/// How the run changed a tensor.
#[derive(Deserialize)]
struct Change {
    name: String,
    norm: f64,
    /// Along the vector of the script's formula.
    along: f64,
}

#[test]
fn twenty_steps_of_smollm2_are_those_of_transformers() {
    let run: LargeRun = json("../full_smollm2/trajectory.json");
    let mut examples = examples("../lora_trajectory/trajectory.json");
    examples.truncate(run.steps.len() * run.batch_size);
    let assets = assets::Assets::open(None, Arc::new(())).unwrap();
    let mut model = ChatModel::load(assets.smollm2().unwrap(), &Device::flex()).unwrap();
    let decoder = model.decoder_mut();
    let start = decoder.parameters();
    let config = TrainerConfig {
        per_device_train_batch_size: run.batch_size,
        ..run.settings.config()
    };
    let steps = train(decoder, config, &examples);
    assert_eq!(steps.len(), run.steps.len());
    let mut worst = 0.0_f64;
    for (got, expected) in steps.iter().zip(&run.steps) {
        let name = format!("step {}", got.step);
        close(got.lr, expected.lr, 1e-12, &name);
        assert_eq!(got.num_target_tokens, expected.num_target_tokens, "{name}");
        close(got.loss, expected.loss, 1e-3, &name);
        let relative = got.grad_norm / expected.grad_norm;
        close(
            relative,
            1.0,
            1e-2,
            &format!("{name}: norm of the gradient"),
        );
        worst = worst.max((got.loss - expected.loss).abs());
    }
    let end = decoder.parameters();
    assert_eq!(end.len(), run.cases.len());
    let (mut worst_norm, mut worst_along) = (0.0_f64, 0.0_f64);
    for ((name, start), (_, end)) in start.into_iter().zip(end) {
        let expected = run.cases.iter().find(|case| case.name == name).unwrap();
        let values = |parameter: grsap_model::Parameter| {
            let values = parameter.to_matrix().into_data();
            values.try_into_vec::<f32>().unwrap()
        };
        let (mut squares, mut along) = (0.0, 0.0);
        for (i, (start, end)) in values(start).into_iter().zip(values(end)).enumerate() {
            let change = f64::from(end) - f64::from(start);
            squares += change * change;
            along += change * ((i * 40503 % 65536) as f64 / 32768.0 - 1.0);
        }
        worst_norm = worst_norm.max((squares.sqrt() / expected.norm - 1.0).abs());
        // A random direction would be off by some 0.8 of this.
        worst_along = worst_along.max((along - expected.along).abs() / expected.norm);
    }
    println!(
        "worst loss off by {worst:.1e}; changes of tensors: {worst_norm:.1e} in length, {worst_along:.1e} along a direction"
    );
    assert!(
        worst_norm <= 1e-2 && worst_along <= 1e-2,
        "{worst_norm} {worst_along}"
    );
}

/// The logits of a sequence.
fn logits(decoder: &Decoder) -> Vec<f32> {
    let ids = [1_u32, 7, 30, 12, 55];
    let input = DecoderInput::packed([ids.as_slice()]);
    let hidden = decoder.hidden_states(&input, None).unwrap();
    let logits: Tensor<2> = decoder.logits(hidden, &[0, 4]).unwrap();
    logits.into_data().try_into_vec().unwrap()
}

#[test]
fn checkpointing_and_packed_passes_give_the_same_run() {
    let trajectory: Trajectory = json("trajectory.json");
    for run in &trajectory.runs {
        let few = |config: TrainerConfig| {
            let mut decoder = decoder(run);
            let config = TrainerConfig {
                max_steps: Some(12),
                ..config
            };
            let losses = train(&mut decoder, config, &examples("examples.json"));
            (
                losses.iter().map(|s| s.loss).collect::<Vec<f64>>(),
                logits(&decoder),
            )
        };
        let (losses, plain) = few(trajectory.config(run));
        let (again, checkpointed) = few(TrainerConfig {
            gradient_checkpointing: true,
            ..trajectory.config(run)
        });
        assert_eq!(losses, again, "{}", run.name);
        assert_eq!(plain, checkpointed, "{}", run.name);
        let one_pass = TrainerConfig {
            max_tokens_per_pass: Some(200),
            gradient_checkpointing: true,
            ..trajectory.config(run)
        };
        let (packed, _) = few(one_pass);
        for (step, (a, b)) in losses.iter().zip(&packed).enumerate() {
            close(*b, *a, 1e-4, &format!("{} step {}", run.name, step + 1));
        }
    }
}

#[test]
fn a_decoder_that_is_unfrozen_and_frozen_again_computes_the_same() {
    let trajectory: Trajectory = json("trajectory.json");
    for run in &trajectory.runs {
        let mut decoder = decoder(run);
        let before = logits(&decoder);
        let (_dir, files) = saved(&decoder);
        let names: Vec<String> = decoder.parameters().into_iter().map(|(n, _)| n).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, files.names(), "{}", run.name);
        decoder.unfreeze();
        let unfrozen = logits(&decoder);
        for (a, b) in before.iter().zip(&unfrozen) {
            assert!((a - b).abs() < 1e-4, "{}", run.name);
        }
        decoder.freeze(WeightFormat::F32).unwrap();
        assert_eq!(logits(&decoder), before, "{}", run.name);
        // Fewer, or of another shape: nothing changes.
        let mut parameters: Vec<_> = decoder.parameters().into_iter().map(|(_, p)| p).collect();
        parameters.swap(0, 2);
        assert!(decoder.set_parameters(parameters.clone()).is_err());
        parameters.swap(0, 2);
        let last = parameters.pop().unwrap();
        assert!(decoder.set_parameters(parameters.clone()).is_err());
        parameters.extend([last.clone(), last]);
        assert!(decoder.set_parameters(parameters).is_err());
        assert_eq!(logits(&decoder), before, "{}", run.name);
    }
}

#[test]
fn a_checkpoint_is_a_model_that_loads_and_a_run_that_goes_on() {
    let trajectory: Trajectory = json("trajectory.json");
    for run in trajectory.runs.iter().filter(|run| run.has_final) {
        let output = tempfile::tempdir().unwrap();
        let train = |max_steps, resume, save| {
            let mut decoder = decoder(run);
            let config = TrainerConfig {
                max_steps: Some(max_steps),
                save_steps: Some(4),
                ..trajectory.config(run)
            };
            let schedule = trajectory.config(run).schedule(50);
            Trainer::new(config, FullFineTuning { save })
                .unwrap()
                .with_output_dir(output.path())
                .with_resume(resume)
                .train_with(
                    &mut decoder,
                    &examples("examples.json"),
                    schedule.as_ref(),
                    &mut [],
                )
                .unwrap();
            decoder.freeze(WeightFormat::F32).unwrap();
            logits(&decoder)
        };
        let exact = FullFineTuning::default().save;
        let whole = train(8, Resume::Never, exact.clone());
        for name in ["checkpoint-8", "checkpoint-4"] {
            let dir = output.path().join(name);
            let config = DecoderConfig::from_hf_file(&dir.join("config.json")).unwrap();
            let weights = SafetensorsFile::open(&dir).unwrap();
            let loaded = Decoder::load(&weights, &config, &Device::flex()).unwrap();
            // Norms that files store less one lose their last bits there.
            let pairs = whole.iter().zip(logits(&loaded));
            let error = pairs.fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert_eq!(error < 1e-5, name == "checkpoint-8", "{} {error}", run.name);
        }
        // In another type, in shards, after a step that went astray: a run continues exactly.
        std::fs::remove_dir_all(output.path().join("checkpoint-8")).unwrap();
        let rough = SaveConfig {
            max_shard_bytes: 20_000,
            ..SaveConfig::default()
        };
        assert_eq!(train(8, Resume::Latest, rough), whole, "{}", run.name);
        let shards = output
            .path()
            .join("checkpoint-8/model.safetensors.index.json");
        assert!(shards.is_file());
    }
}
