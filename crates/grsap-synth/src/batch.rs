//! Calls to models in chunks, with progress, and with the number of results checked.

use grsap_core::{
    Completion, Exchange, Generation, Generator, Guard, Progress, Prompt, SamplingParams, Verdict,
};
use rand::Rng;

use crate::{Filtered, SynthError};

/// Completions, or texts, that are asked for in one call.
pub(crate) const CHUNK_SIZE: usize = 64;

/// How a stage calls models.
pub(crate) struct Batches<'a> {
    pub(crate) stage: &'static str,
    /// Completions, or texts, in a call.
    pub(crate) chunk_size: usize,
    pub(crate) progress: &'a dyn Progress,
}

impl Batches<'_> {
    /// Continues all `prompts`.
    pub(crate) fn generate(
        &self,
        generator: &dyn Generator,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, SynthError> {
        let (chunk_size, n) = (self.chunk_size / params.n, params.n);
        in_chunks(self.progress, self.stage, prompts, chunk_size, n, |chunk| {
            self.generate_once(generator, chunk, params)
        })
    }

    /// Answers each prompt once and adds the tokens to `counts`.
    pub(crate) fn answer(
        &self,
        generator: &dyn Generator,
        prompts: &[Prompt],
        params: &SamplingParams,
        counts: &mut Filtered,
    ) -> Result<Vec<Completion>, SynthError> {
        let generations = self.generate(generator, prompts, params)?;
        let completions = generations.into_iter().flat_map(|g| g.completions);
        let completions: Vec<Completion> = completions.collect();
        let num_tokens = completions.iter().map(|c| c.num_tokens).sum();
        counts.count("num_tokens", num_tokens);
        Ok(completions)
    }

    /// Continues `prompts` in one call.
    pub(crate) fn generate_once(
        &self,
        generator: &dyn Generator,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, SynthError> {
        let stage = self.stage;
        let generations = generator
            .generate(prompts, params)
            .map_err(|source| SynthError::Model { stage, source })?;
        self.check("generations", prompts.len(), generations.len())?;
        for generation in &generations {
            self.check("completions", params.n, generation.completions.len())?;
        }
        Ok(generations)
    }

    /// Judges all `exchanges`.
    pub(crate) fn judge(
        &self,
        guard: &dyn Guard,
        exchanges: &[Exchange<'_>],
    ) -> Result<Vec<Verdict>, SynthError> {
        let stage = self.stage;
        in_chunks(
            self.progress,
            stage,
            exchanges,
            self.chunk_size,
            1,
            |chunk| {
                let verdicts = guard
                    .judge(chunk)
                    .map_err(|source| SynthError::Guard { stage, source })?;
                self.check("verdicts", chunk.len(), verdicts.len())?;
                Ok(verdicts)
            },
        )
    }

    fn check(&self, what: &'static str, expected: usize, got: usize) -> Result<(), SynthError> {
        if expected == got {
            return Ok(());
        }
        Err(SynthError::Length {
            stage: self.stage,
            what,
            expected,
            got,
        })
    }
}

/// Calls `call` with `chunk_size` items at a time, at least one, and tells `progress` that each item
/// is `weight` units.
pub(crate) fn in_chunks<T, R, E>(
    progress: &dyn Progress,
    task: &str,
    items: &[T],
    chunk_size: usize,
    weight: usize,
    call: impl Fn(&[T]) -> Result<Vec<R>, E>,
) -> Result<Vec<R>, E> {
    progress.start(task, items.len() * weight);
    let mut results = Vec::with_capacity(items.len());
    for chunk in items.chunks(chunk_size.max(1)) {
        results.extend(call(chunk)?);
        progress.advance(chunk.len() * weight);
    }
    progress.finish();
    Ok(results)
}

/// A sampling seed of its own for each stage, and for each part of it.
pub(crate) fn derive_seed(seed: u64, stage: &str, parts: &[&[u8]]) -> u64 {
    grsap_core::rng(seed, stage, parts).next_u64()
}
