//! Calls to models in chunks, with progress, and with the number of results checked.

use grsap_core::{
    Exchange, Generation, Generator, Guard, Progress, Prompt, SamplingParams, Verdict,
};
use rand::Rng;

use crate::SynthError;

/// Completions, or texts, that are asked for in one call.
pub(crate) const CHUNK_SIZE: usize = 64;

/// Continues all `prompts`, about `chunk_size` completions in a call.
pub(crate) fn generate(
    stage: &'static str,
    generator: &dyn Generator,
    prompts: &[Prompt],
    params: &SamplingParams,
    chunk_size: usize,
    progress: &dyn Progress,
) -> Result<Vec<Generation>, SynthError> {
    progress.start(stage, prompts.len() * params.n);
    let mut generations = Vec::with_capacity(prompts.len());
    for chunk in prompts.chunks((chunk_size / params.n).max(1)) {
        generations.extend(generate_once(stage, generator, chunk, params)?);
        progress.advance(chunk.len() * params.n);
    }
    progress.finish();
    Ok(generations)
}

/// Continues `prompts` in one call.
pub(crate) fn generate_once(
    stage: &'static str,
    generator: &dyn Generator,
    prompts: &[Prompt],
    params: &SamplingParams,
) -> Result<Vec<Generation>, SynthError> {
    let generations = generator
        .generate(prompts, params)
        .map_err(|source| SynthError::Model { stage, source })?;
    check(stage, "generations", prompts.len(), generations.len())?;
    for generation in &generations {
        check(stage, "completions", params.n, generation.completions.len())?;
    }
    Ok(generations)
}

/// Judges all `exchanges`.
pub(crate) fn judge(
    stage: &'static str,
    guard: &dyn Guard,
    exchanges: &[Exchange<'_>],
    chunk_size: usize,
    progress: &dyn Progress,
) -> Result<Vec<Verdict>, SynthError> {
    progress.start(stage, exchanges.len());
    let mut verdicts = Vec::with_capacity(exchanges.len());
    for chunk in exchanges.chunks(chunk_size.max(1)) {
        let new = guard
            .judge(chunk)
            .map_err(|source| SynthError::Guard { stage, source })?;
        check(stage, "verdicts", chunk.len(), new.len())?;
        verdicts.extend(new);
        progress.advance(chunk.len());
    }
    progress.finish();
    Ok(verdicts)
}

fn check(
    stage: &'static str,
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), SynthError> {
    if expected == got {
        return Ok(());
    }
    Err(SynthError::Length {
        stage,
        what,
        expected,
        got,
    })
}

/// A sampling seed of its own for each stage, and for each part of it.
pub(crate) fn derive_seed(seed: u64, stage: &str, parts: &[&[u8]]) -> u64 {
    grsap_core::rng(seed, stage, parts).next_u64()
}
