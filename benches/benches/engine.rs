//! Prefill, decoding and training of SmolLM2-135M-Instruct, the work of `peers/torch_lm.py`.
//!
//! `cargo bench --bench engine`; `GRSAP_BENCH_MODEL=FILE-or-DIR` names another model.

#![allow(clippy::expect_used)] // nothing to measure then

use burn::tensor::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grsap_benches::model;
use grsap_replay::core::{Generator, Perplexity, Prompt, SamplingConfig, SamplingParams};
use grsap_replay::lora::{LoraConfig, SftExample, Trainer, TrainerConfig, attach};
use grsap_replay::model::{ChatModel, DecoderInput, EngineConfig, KvCache};

fn load() -> ChatModel {
    model(&Device::flex())
}

/// Token ids that are in any vocabulary, `len` of them.
fn ids(len: usize, salt: usize) -> Vec<u32> {
    (0..len)
        .map(|i| ((i * 7 + salt * 13) % 90 + 5) as u32)
        .collect()
}

fn prefill(c: &mut Criterion) {
    let model = load();
    let decoder = model.decoder();
    let mut group = c.benchmark_group("prefill");
    for batch in [1, 8, 32] {
        let prompts: Vec<Vec<u32>> = (0..batch).map(|i| ids(64, i)).collect();
        let mut input = DecoderInput::packed(prompts.iter().map(Vec::as_slice));
        input.cache_rows = (0..batch * 64).collect();
        let last: Vec<usize> = (1..=batch).map(|i| i * 64 - 1).collect();
        group.throughput(Throughput::Elements(batch as u64 * 64));
        group.bench_function(format!("{batch}x64"), |b| {
            b.iter(|| {
                let mut cache = KvCache::new(decoder.config(), batch * 64, &Device::flex());
                let hidden = decoder.hidden_states(&input, Some(&mut cache));
                let logits = hidden.and_then(|hidden| decoder.logits(hidden, &last));
                logits.expect("the prompts fit").into_data()
            });
        });
    }
    group.finish();
}

/// Greedy answers of 1 and of 33 tokens to `batch` prompts of about 64 tokens: the difference is
/// the decoding of 32. And 32 samples of 32 tokens from one prompt, the prompt included.
fn generate(c: &mut Criterion) {
    let model = load().with_engine(EngineConfig {
        max_batch: 32,
        max_prefill_tokens: 4096,
        ..EngineConfig::default()
    });
    let mut group = c.benchmark_group("generate");
    let text = |i: usize| format!("{i} {}", "the sea is wide and the sky is high ".repeat(7));
    for batch in [1, 8, 32] {
        let prompts: Vec<Prompt> = (0..batch).map(|i| Prompt::Text(text(i))).collect();
        for tokens in [1, 33] {
            let params = SamplingParams::greedy(tokens);
            group.bench_function(format!("{batch} prompts, {tokens} tokens"), |b| {
                b.iter(|| model.generate(&prompts, &params).expect("the prompts fit"));
            });
        }
    }
    let config = SamplingConfig {
        n: 32,
        max_new_tokens: 32,
        ..Default::default()
    };
    let params = SamplingParams::new(config).expect("the parameters are in range");
    let prompt = [Prompt::Text(text(0))];
    group.bench_function("32 samples of one prompt, 32 tokens", |b| {
        b.iter(|| model.generate(&prompt, &params).expect("the prompt fits"));
    });
    group.finish();
}

fn scoring(c: &mut Criterion) {
    let model = load();
    let text = "the sea is wide and the sky is high ".repeat(4);
    let texts = vec![text.as_str(); 32];
    let num_tokens = model
        .encode(&Prompt::Text(text.clone()))
        .map_or(0, |ids| ids.len())
        * 32;
    let mut group = c.benchmark_group("score");
    group.throughput(Throughput::Elements(num_tokens as u64));
    group.bench_function("32 texts", |b| {
        b.iter(|| model.perplexity(&texts).expect("the texts fit"));
    });
    group.finish();
}

/// One optimiser step: LoRA r 16 on all linear layers, 8 sequences of 128 tokens, loss on all.
fn lora_step(c: &mut Criterion) {
    let mut model = load();
    let config = TrainerConfig {
        max_steps: Some(1),
        ..Default::default()
    };
    let lora = LoraConfig {
        lora_dropout: 0.0,
        ..Default::default()
    };
    let trainer = Trainer::new(config, lora).expect("the settings are in range");
    let examples: Vec<SftExample> = (0..8)
        .map(|i| SftExample::new(ids(128, i), vec![true; 128]).expect("a valid example"))
        .collect();
    attach(model.decoder_mut(), trainer.lora(), 0).expect("LoRA fits any decoder");
    let mut group = c.benchmark_group("LoRA step");
    group.throughput(Throughput::Elements(8 * 128));
    group.bench_function("8x128", |b| {
        b.iter(|| {
            let report = trainer.train(model.decoder_mut(), &examples, &mut []);
            report.expect("the examples fit").steps
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = prefill, generate, scoring, lora_step
}
criterion_main!(benches);
