//! Does the language-model work that `benches/peers/lm.py` asks for, one case a line on standard
//! input, once, and answers with tokens a second:
//!
//!     lm FILE-or-DIR [--format f32|bf16|int8]
//!     prefill/8x64      the cache and the last logits of 8 prompts of 64 tokens
//!     decode/8          32 greedy tokens after the first, for 8 prompts of 64 tokens
//!     samples/1x32      32 samples of 32 tokens from one prompt of 64, the prompt included
//!     score/32x32       the perplexities of 32 texts of 32 tokens
//!     model             numbers of weights in the layers and in the head, bytes a weight, JSON
//!     peak              what the processor can do: GFLOP/s in f32 and bf16, GB/s of reading

#![allow(clippy::print_stdout)] // that is what it is for

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use grsap_benches::peak;
use grsap_kernels::FrozenWeight;
use grsap_replay::core::Perplexity;
use grsap_replay::model::{DecoderInput, EngineConfig, KvCache, WeightFormat};
use grsap_replay::prelude::*;

type Error = Box<dyn std::error::Error>;

const PROMPT_TOKENS: usize = 64;
const NEW_TOKENS: usize = 32;

/// A text of so many tokens; row by row another one.
fn text(model: &ChatModel, row: usize, num_tokens: usize) -> Result<String, Error> {
    const WORDS: [&str; 11] = [
        " sea", " is", " wide", " and", " high", " sky", " the", " old", " man", " on", " water",
    ];
    let mut text = String::from("The");
    let mut next = row;
    while model.encode(&Prompt::Text(text.clone()))?.len() < num_tokens {
        text += WORDS.get(next % WORDS.len()).unwrap_or(&" a");
        next += 1 + row % 3;
    }
    match model.encode(&Prompt::Text(text.clone()))?.len() {
        len if len == num_tokens => Ok(text),
        len => Err(format!("the words make {len} tokens, not {num_tokens}").into()),
    }
}

fn prompts(model: &ChatModel, batch: usize) -> Result<Vec<Prompt>, Error> {
    let rows = 0..batch;
    rows.map(|row| Ok(Prompt::Text(text(model, row, PROMPT_TOKENS)?)))
        .collect()
}

/// Seconds of an answer, and its tokens.
fn generate(
    model: &ChatModel,
    prompts: &[Prompt],
    params: &SamplingParams,
) -> Result<(f64, usize), Error> {
    let start = Instant::now();
    let answers = model.generate(prompts, params)?;
    let seconds = start.elapsed().as_secs_f64();
    let completions = answers.iter().flat_map(|answer| &answer.completions);
    Ok((seconds, completions.map(|c| c.num_tokens).sum()))
}

/// Tokens a second.
fn case(model: &ChatModel, name: &str) -> Result<f64, Error> {
    let (bench, size) = name.split_once('/').ok_or("expected BENCH/SIZE")?;
    let (rows, len) = match size.split_once('x') {
        Some((rows, len)) => (rows.parse()?, len.parse()?),
        None => (size.parse()?, 0),
    };
    let rate = |tokens: usize, seconds: f64| tokens as f64 / seconds;
    match bench {
        "prefill" => {
            let ids = |row| {
                model
                    .encode(&Prompt::Text(text(model, row, len)?))
                    .map_err(Error::from)
            };
            let ids = (0..rows).map(ids).collect::<Result<Vec<_>, _>>()?;
            let mut input = DecoderInput::packed(ids.iter().map(Vec::as_slice));
            input.cache_rows = (0..rows * len).collect();
            let last: Vec<usize> = (1..=rows).map(|row| row * len - 1).collect();
            let decoder = model.decoder();
            let start = Instant::now();
            let mut cache = KvCache::new(decoder.config(), rows * len, &Device::flex());
            let hidden = decoder.hidden_states(&input, Some(&mut cache))?;
            black_box(decoder.logits(hidden, &last)?.into_data());
            Ok(rate(rows * len, start.elapsed().as_secs_f64()))
        }
        "decode" => {
            let prompts = prompts(model, rows)?;
            let (first, before) = generate(model, &prompts, &SamplingParams::greedy(1))?;
            let (all, after) = generate(model, &prompts, &SamplingParams::greedy(NEW_TOKENS + 1))?;
            Ok(rate(after - before, all - first))
        }
        "samples" => {
            let config = SamplingConfig {
                n: len,
                max_new_tokens: NEW_TOKENS,
                ..SamplingConfig::default()
            };
            let params = SamplingParams::new(config)?;
            let (seconds, tokens) = generate(model, &prompts(model, rows)?, &params)?;
            Ok(rate(tokens, seconds))
        }
        "score" => {
            let texts = (0..rows).map(|row| text(model, row, len));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let start = Instant::now();
            black_box(model.perplexity(&texts)?);
            Ok(rate(rows * len, start.elapsed().as_secs_f64()))
        }
        other => Err(format!("no bench called {other}").into()),
    }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("usage: lm FILE-or-DIR [--format F]")?;
    let format = args.iter().skip_while(|arg| *arg != "--format").nth(1);
    let format: WeightFormat = format.map_or("f32", String::as_str).parse()?;
    let model = ChatModel::load_as(path, &Device::flex(), format)?.with_engine(EngineConfig {
        max_batch: 32,
        max_prefill_tokens: 4096,
        ..EngineConfig::default()
    });
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "peak" => {
                let threads = std::env::var("RAYON_NUM_THREADS").map_or(Ok(1), |n| n.parse())?;
                println!("{:?}", peak(threads));
            }
            "model" => {
                let decoder = model.decoder();
                let projections = decoder.projections();
                let weights: Vec<_> = projections.map(|(_, p)| p.weight()).collect();
                let size = |weight: &FrozenWeight| weight.dims().iter().product::<usize>();
                let head = decoder.head_weight();
                let bytes = weights.iter().map(|weight| weight.num_bytes());
                println!(
                    r#"{{"layers": {}, "head": {}, "bytes": {}}}"#,
                    weights.iter().copied().map(size).sum::<usize>(),
                    size(head),
                    bytes.sum::<usize>() + head.num_bytes()
                );
            }
            name => println!("{:.3}", case(&model, name)?),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
