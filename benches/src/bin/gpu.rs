//! Trains LoRA on a decoder of a known shape with made-up weights, on a GPU, and prints the losses
//! and tokens a second as one line of JSON. `benches/peers/gpu.py` runs it in turn with PEFT on the
//! same weights.
//!
//!     gpu SHAPE [--rows 8] [--tokens 512] [--steps 6] [--layers N] [--checkpointing] [--format bf16|f32|int8|nf4] [--cpu]
//!
//! Build it with `--features cuda` (or `wgpu`).

#![allow(clippy::print_stdout)] // that is what it is for

use std::error::Error as StdError;

mod made_up {
    use std::path::Path;

    use grsap_replay::model::{Activation, DecoderConfig, LoadError, RopeConfig, TensorSource};

    /// Values that `peers/train_peft_gpu.py` makes too: a table of numbers, read from a place that
    /// depends on the tensor's name.
    pub(crate) struct MadeUp {
        config: DecoderConfig,
        table: Vec<f32>,
    }

    const TABLE: usize = 1_048_573;

    impl MadeUp {
        pub(crate) fn new(config: DecoderConfig) -> Self {
            let mut state = 1u64;
            let next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                // Uniform, with the standard deviation 0.02.
                ((state >> 40) as f32 / 16_777_216.0 - 0.5) * 0.069_282
            };
            Self {
                config,
                table: std::iter::repeat_with(next).take(TABLE).collect(),
            }
        }
    }

    impl TensorSource for MadeUp {
        fn path(&self) -> &Path {
            Path::new("made-up")
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            let c = &self.config;
            let (q, kv) = (
                c.num_attention_heads * c.head_dim,
                c.num_key_value_heads * c.head_dim,
            );
            let mut parts = name.rsplit('.');
            let is_bias = parts.next() == Some("bias");
            let (out, width) = match parts.next()? {
                "lm_head" if c.tie_word_embeddings => return None,
                "embed_tokens" | "lm_head" => (c.vocab_size, c.hidden_size),
                "q_proj" => (q, c.hidden_size),
                "k_proj" | "v_proj" => (kv, c.hidden_size),
                "o_proj" => (c.hidden_size, q),
                "gate_proj" | "up_proj" => (c.intermediate_size, c.hidden_size),
                "down_proj" => (c.hidden_size, c.intermediate_size),
                _ => return Some(vec![c.hidden_size]),
            };
            Some(if is_bias { vec![out] } else { vec![out, width] })
        }

        fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
            let shape = self.shape(name).unwrap_or_default();
            let len = shape.iter().product();
            if shape.len() == 1 && name.ends_with("norm.weight") {
                return Ok(vec![1.0; len]);
            }
            let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
            let start = (hash % TABLE as u64) as usize;
            let mut values = Vec::with_capacity(len);
            let (head, tail) = self.table.split_at(start);
            while values.len() < len {
                for part in [tail, head] {
                    let take = part.len().min(len - values.len());
                    values.extend(part.iter().take(take));
                }
            }
            Ok(values)
        }
    }

    /// The shape of a model that people know.
    pub(crate) fn shape(name: &str) -> Option<DecoderConfig> {
        let base = |hidden, inner, layers, heads, kv_heads, vocab, theta, eps| DecoderConfig {
            architecture: "llama".into(),
            vocab_size: vocab,
            hidden_size: hidden,
            intermediate_size: inner,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim: hidden / heads,
            norm_eps: eps,
            rope: Some(RopeConfig {
                theta,
                scaling: None,
            }),
            max_position_embeddings: 8192,
            hidden_act: Activation::Silu,
            tie_word_embeddings: true,
            qkv_bias: false,
            attention_out_bias: false,
            mlp_bias: false,
            query_pre_attn_scalar: (hidden / heads) as f64,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            sliding_windows: Vec::new(),
        };
        Some(match name {
            "smollm2-135m" => base(576, 1536, 30, 9, 3, 49_152, 1e5, 1e-5),
            "qwen2.5-0.5b" => DecoderConfig {
                architecture: "qwen2".into(),
                qkv_bias: true,
                ..base(896, 4864, 24, 14, 2, 151_936, 1e6, 1e-6)
            },
            "llama3-8b" => DecoderConfig {
                tie_word_embeddings: false,
                ..base(4096, 14_336, 32, 32, 8, 128_256, 5e5, 1e-5)
            },
            _ => return None,
        })
    }
}

fn main() -> Result<(), Box<dyn StdError>> {
    use std::ops::ControlFlow;
    use std::time::Instant;

    use grsap_replay::lora::{BoxError, SftExample, StepReport};
    use grsap_replay::model::{Decoder, WeightFormat};
    use grsap_replay::prelude::*;

    #[derive(Default)]
    struct Ends(Vec<Instant>);

    impl Callback for Ends {
        fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            eprintln!(
                "step {}: loss {:.4}, {:.2} s",
                report.step, report.loss, report.seconds
            );
            self.0.push(Instant::now());
            Ok(ControlFlow::Continue(()))
        }
    }

    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().ok_or("usage: gpu SHAPE [options]")?;
    let option = |name: &str, default: usize| -> Result<usize, Box<dyn StdError>> {
        let mut rest = args.iter().skip_while(|arg| *arg != name);
        match rest.nth(1) {
            Some(value) => Ok(value.parse()?),
            None => Ok(default),
        }
    };
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let mut config = made_up::shape(name).ok_or("known: smollm2-135m, qwen2.5-0.5b, llama3-8b")?;
    config.num_hidden_layers = option("--layers", config.num_hidden_layers)?;
    let (rows, tokens, steps) = (
        option("--rows", 8)?,
        option("--tokens", 512)?,
        option("--steps", 6)?,
    );
    let device = match () {
        #[cfg(feature = "cuda")]
        () if !flag("--cpu") => Device::cuda(0),
        #[cfg(all(feature = "wgpu", not(feature = "cuda")))]
        () if !flag("--cpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        () if flag("--cpu") => Device::flex(),
        () => return Err("build it with --features cuda or wgpu, or say --cpu".into()),
    };
    let named = args.iter().skip_while(|arg| *arg != "--format").nth(1);
    let format: WeightFormat = named.map_or("bf16", String::as_str).parse()?;
    let started = Instant::now();
    let source = made_up::MadeUp::new(config.clone());
    let mut decoder = Decoder::load_as(&source, &config, &device, format)?;
    drop(source);
    let loaded = started.elapsed().as_secs_f64();

    let ids = |row: usize| (0..tokens).map(move |i| ((i * 7 + row * 13) % 90 + 5) as u32);
    let examples = (0..rows)
        .map(|row| SftExample::new(ids(row).collect(), vec![true; tokens]))
        .collect::<Result<Vec<_>, _>>()?;
    let trainer = Trainer::new(
        TrainerConfig {
            // Some to warm up.
            max_steps: Some(steps + 2),
            per_device_train_batch_size: rows,
            gradient_checkpointing: flag("--checkpointing"),
            warmup_ratio: 0.0,
            ..TrainerConfig::default()
        },
        LoraConfig {
            lora_dropout: 0.0,
            ..LoraConfig::default()
        },
    )?;
    attach(&mut decoder, trainer.lora(), 0)?;
    let mut ends = Ends::default();
    let report = trainer.train(&mut decoder, &examples, &mut [&mut ends])?;
    let [_, first, .., last] = ends.0.as_slice() else {
        return Err("no steps".into());
    };
    let seconds = (*last - *first).as_secs_f64();
    let rate = (rows * tokens * steps) as f64 / seconds;
    println!(
        r#"{{"tokens_per_second": {rate:.1}, "tflops": {:.1}, "losses": {:.4?}, "loading_seconds": {loaded:.1}}}"#,
        1e-12 * grsap_benches::operations_per_token(&decoder) * rate,
        report.losses,
    );
    Ok(())
}
