//! Training on a GPU against the same training on the CPU. With the feature `cuda` on the first
//! CUDA device, with `wgpu` on what `CUBECL_WGPU_DEFAULT_DEVICE` names (`Cpu` for a software
//! renderer).

#![cfg(any(feature = "wgpu", feature = "cuda"))]
// A failure here is the message.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use burn::tensor::Device;
use grsap_lora::{
    AdapterFactors, BoxError, Callback, FullFineTuning, LoraConfig, Resume, SftExample, Trainer,
    TrainerConfig, attach,
};
use grsap_model::{
    Activation, Decoder, DecoderConfig, LoadError, RopeConfig, TensorSource, WeightFormat,
};
use rand::RngExt;

const VOCAB: usize = 60;

struct RandomWeights;

fn shape() -> DecoderConfig {
    DecoderConfig {
        architecture: "llama".into(),
        vocab_size: VOCAB,
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        // What the attention kernels take.
        head_dim: 32,
        norm_eps: 1e-5,
        rope: Some(RopeConfig {
            theta: 10_000.0,
            scaling: None,
        }),
        max_position_embeddings: 64,
        hidden_act: Activation::Silu,
        tie_word_embeddings: false,
        qkv_bias: false,
        attention_out_bias: false,
        mlp_bias: false,
        query_pre_attn_scalar: 32.0,
        attn_logit_softcapping: None,
        final_logit_softcapping: None,
        sliding_windows: Vec::new(),
    }
}

impl TensorSource for RandomWeights {
    fn path(&self) -> &Path {
        Path::new("random")
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(match name.rsplit('.').nth(1)? {
            "embed_tokens" | "lm_head" => vec![VOCAB, 64],
            "q_proj" => vec![128, 64],
            "k_proj" | "v_proj" => vec![64, 64],
            "o_proj" => vec![64, 128],
            "gate_proj" | "up_proj" => vec![96, 64],
            "down_proj" => vec![64, 96],
            _ => vec![64],
        })
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let len = self.shape(name).unwrap().iter().product();
        let mut rng = grsap_core::rng(3, "weights", &[name.as_bytes()]);
        Ok((0..len).map(|_| rng.random_range(-0.3..0.3)).collect())
    }
}

/// The losses and, one after another, all numbers of the adapter.
fn train(device: &Device, checkpointing: bool, others: &[Device]) -> (Vec<f64>, Vec<f32>) {
    train_in(WeightFormat::F32, device, checkpointing, others)
}

fn train_in(
    format: WeightFormat,
    device: &Device,
    gradient_checkpointing: bool,
    others: &[Device],
) -> (Vec<f64>, Vec<f32>) {
    let config = TrainerConfig {
        gradient_checkpointing,
        ..settings()
    };
    let mut decoder = Decoder::load_as(&RandomWeights, &shape(), device, format).unwrap();
    let trainer = Trainer::new(config, lora()).unwrap();
    let trainer = trainer.with_further_devices(others.iter().cloned());
    attach(&mut decoder, trainer.lora(), 1).unwrap();
    let report = trainer.train(&mut decoder, &examples(), &mut []).unwrap();
    (report.losses, adapter(&decoder))
}

fn adapter(decoder: &Decoder) -> Vec<f32> {
    let factors = AdapterFactors::of(decoder);
    let values = factors
        .iter()
        .flat_map(|(_, t)| t.clone().into_data().try_into_vec::<f32>().unwrap());
    values.collect()
}

fn examples() -> Vec<SftExample> {
    let mut rng = grsap_core::rng(5, "examples", &[]);
    (0..8)
        .map(|i| {
            let len = 5 + 7 * i % 40;
            let ids = (0..len).map(|_| rng.random_range(0..VOCAB as u32));
            let example = SftExample::new(ids.collect(), (0..len).map(|j| j > 1).collect());
            let group = if i % 2 == 0 { "replay" } else { "task" };
            example.unwrap().with_group(group)
        })
        .collect()
}

fn lora() -> LoraConfig {
    LoraConfig {
        r: 4,
        lora_dropout: 0.1,
        ..LoraConfig::default()
    }
}

fn settings() -> TrainerConfig {
    TrainerConfig {
        learning_rate: 5e-3,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        num_train_epochs: 3,
        max_grad_norm: Some(0.5),
        ..TrainerConfig::default()
    }
}

/// How far results may be from the CPU's.
const TOLERANCE: f64 = 1e-4;

fn gpu() -> Device {
    #[cfg(feature = "cuda")]
    {
        Device::cuda(0)
    }
    #[cfg(not(feature = "cuda"))]
    {
        Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
    }
}

#[track_caller]
fn same(got: (Vec<f64>, Vec<f32>), (losses, factors): &(Vec<f64>, Vec<f32>), tolerance: f64) {
    assert_eq!((got.0.len(), got.1.len()), (losses.len(), factors.len()));
    for (got, want) in got.0.iter().zip(losses) {
        assert!((got - want).abs() <= tolerance * want, "{got} and {want}");
    }
    // AdamW divides by the root of small numbers, so that rounding shows in single factors.
    let largest = factors.iter().fold(0f32, |m, x| m.max(x.abs()));
    let apart: f32 = got.1.iter().zip(factors).map(|(a, b)| (a - b).abs()).sum();
    let mean = f64::from(apart) / factors.len() as f64;
    assert!(mean <= 10.0 * tolerance * f64::from(largest), "{mean}");
}

#[test]
fn steps_equal_those_of_the_cpu() {
    let gpu = gpu();
    let cpu = train(&Device::flex(), false, &[]);
    assert!(cpu.0.len() == 6 && cpu.0[5] < cpu.0[0], "{:?}", cpu.0);
    for checkpointing in [false, true] {
        same(train(&gpu, checkpointing, &[]), &cpu, TOLERANCE);
    }
}

/// Two devices of different kinds, each of them once the one that takes the steps.
#[test]
fn two_devices_share_the_passes() {
    let gpu = gpu();
    let cpu = train(&Device::flex(), false, &[]);
    same(train(&gpu, false, &[Device::flex()]), &cpu, TOLERANCE);
    same(train(&Device::flex(), false, &[gpu]), &cpu, TOLERANCE);
}

/// QLoRA. The head is in `bf16` where the device has it, and on the CPU, so that they differ a little.
#[test]
fn a_base_in_four_bits_trains_as_on_the_cpu() {
    let gpu = gpu();
    let cpu = train_in(WeightFormat::Nf4, &Device::flex(), false, &[]);
    same(train_in(WeightFormat::Nf4, &gpu, true, &[]), &cpu, 2e-2);
}

/// The step that a run begins after.
struct From(usize);

impl Callback for From {
    fn on_start(&mut self, first_step: usize, _num_steps: usize) -> Result<(), BoxError> {
        self.0 = first_step;
        Ok(())
    }
}

/// What is off by default, and a run that is interrupted in its middle.
#[test]
fn options_and_checkpoints_work_as_on_the_cpu() {
    let gpu = gpu();
    let run = |device: &Device, steps: &[usize], resume: Resume, dir: &Path| {
        let config = TrainerConfig {
            kl_coef: 0.5,
            ema_decay: Some(0.5),
            max_tokens_per_pass: Some(60),
            gradient_checkpointing: true,
            save_steps: Some(3),
            ..settings()
        };
        let mut decoder =
            Decoder::load_as(&RandomWeights, &shape(), device, WeightFormat::F32).unwrap();
        let trainer = Trainer::new(config, lora()).unwrap();
        let trainer = trainer.with_output_dir(dir).with_resume(resume);
        attach(&mut decoder, trainer.lora(), 1).unwrap();
        let mut from = From(usize::MAX);
        let report = trainer.train(&mut decoder, &examples(), &mut [&mut from]);
        let report = report.unwrap();
        assert_eq!(from.0, if resume == Resume::Latest { 3 } else { 0 });
        for step in steps {
            std::fs::remove_dir_all(dir.join(format!("checkpoint-{step}"))).unwrap();
        }
        (report.losses, adapter(&decoder))
    };
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let cpu = run(&Device::flex(), &[], Resume::Never, dirs[0].path());
    same(
        run(&gpu, &[6], Resume::Never, dirs[1].path()),
        &cpu,
        TOLERANCE,
    );
    // From step 3.
    same(
        run(&gpu, &[], Resume::Latest, dirs[1].path()),
        &cpu,
        TOLERANCE,
    );
}

#[test]
fn all_weights_train_as_on_the_cpu() {
    let gpu = gpu();
    let run = |device: &Device, format: WeightFormat| {
        let config = TrainerConfig {
            kl_coef: 0.5,
            ..settings()
        };
        let mut decoder = Decoder::load_as(&RandomWeights, &shape(), device, format).unwrap();
        let trainer = Trainer::new(config, FullFineTuning::default()).unwrap();
        let report = trainer.train(&mut decoder, &examples(), &mut []).unwrap();
        let values = decoder.parameters().into_iter().flat_map(|(_, parameter)| {
            let values = parameter.to_matrix().into_data();
            values.try_into_vec::<f32>().unwrap()
        });
        (report.losses, values.collect())
    };
    let cpu = run(&Device::flex(), WeightFormat::F32);
    same(run(&gpu, WeightFormat::F32), &cpu, TOLERANCE);
    // From a base that is held in fewer bits.
    let cpu = run(&Device::flex(), WeightFormat::Int8);
    same(run(&gpu, WeightFormat::Int8), &cpu, 10.0 * TOLERANCE);
}
