use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use grsap_core::{Completion, FinishReason, Generation, ModelError, SamplingParams};
use grsap_kernels::Segment;
use rand_chacha::ChaCha8Rng;

use super::config::EngineConfig;
use super::row_pool::RowPool;
use super::sampler::sample;
use crate::decoder::{Decoder, DecoderInput, KvCache};
use crate::stream_decoder::StreamDecoder;
use crate::tokenizer::ChatTokenizer;

/// A prompt as tokens.
pub(crate) struct Job {
    pub(crate) input_ids: Vec<u32>,
}

/// A prompt in the cache, shared by its samples.
struct Prefix {
    rows: Range<usize>,
    /// Of its last position: what every first token is drawn from.
    logits: Vec<f32>,
    /// Samples that are not finished.
    remaining: usize,
}

/// A sample on its way.
struct Sequence {
    job: usize,
    sample: usize,
    prefix: Range<usize>,
    rows: Range<usize>,
    last_token: u32,
    num_tokens: usize,
    text: StreamDecoder,
    rng: ChaCha8Rng,
}

/// Continues every job `params.n` times.
///
/// Finished samples make place for waiting ones at once. Each prompt is computed once; its samples
/// read the same rows of the cache. What a sample says depends on the seed, the prompt and the
/// sample's index alone.
pub(crate) fn generate(
    decoder: &Decoder,
    tokenizer: &ChatTokenizer,
    jobs: &[Job],
    params: &SamplingParams,
    config: &EngineConfig,
) -> Result<Vec<Generation>, ModelError> {
    let limit = decoder.config().max_position_embeddings;
    for (index, job) in jobs.iter().enumerate() {
        let num_tokens = job.input_ids.len();
        if num_tokens == 0 {
            let reason = "the prompt has no tokens".into();
            return Err(ModelError::InvalidInput { index, reason });
        }
        if num_tokens + params.max_new_tokens > limit {
            let limit = limit.saturating_sub(params.max_new_tokens);
            return Err(ModelError::TooLong {
                index,
                num_tokens,
                limit,
            });
        }
    }
    let mut run = Run::new(decoder, tokenizer, jobs, params, config);
    while run.step()? {}
    run.finish()
}

struct Run<'a> {
    decoder: &'a Decoder,
    tokenizer: &'a ChatTokenizer,
    jobs: &'a [Job],
    params: &'a SamplingParams,
    max_batch: usize,
    max_prefill_tokens: usize,
    cache: KvCache,
    /// Rows for prompts.
    pool: RowPool,
    /// Rows for samples, `max_new_tokens` each.
    slots: Vec<Range<usize>>,
    /// Samples that wait: (job, sample), in order.
    waiting: VecDeque<(usize, usize)>,
    active: Vec<Sequence>,
    /// Prompts in the cache, by job.
    prefixes: BTreeMap<usize, Prefix>,
    completions: Vec<Vec<Option<Completion>>>,
}

impl<'a> Run<'a> {
    fn new(
        decoder: &'a Decoder,
        tokenizer: &'a ChatTokenizer,
        jobs: &'a [Job],
        params: &'a SamplingParams,
        config: &EngineConfig,
    ) -> Self {
        let max_batch = config.max_batch.max(1).min((jobs.len() * params.n).max(1));
        // Rows for the most that can be active at once: so many samples, and one prompt more than
        // have samples running.
        let mut prompts: Vec<usize> = jobs.iter().map(|job| job.input_ids.len()).collect();
        prompts.sort_unstable_by(|a, b| b.cmp(a));
        let prompt_rows: usize = prompts.iter().take(max_batch + 1).sum();
        let slot = |i: usize| prompt_rows + i * params.max_new_tokens;
        let num_rows = slot(max_batch);
        Self {
            decoder,
            tokenizer,
            jobs,
            params,
            max_batch,
            max_prefill_tokens: config.max_prefill_tokens,
            cache: KvCache::new(decoder.config(), num_rows, &decoder.device()),
            pool: RowPool::new(prompt_rows),
            slots: (0..max_batch).rev().map(|i| slot(i)..slot(i + 1)).collect(),
            waiting: (0..jobs.len())
                .flat_map(|job| (0..params.n).map(move |sample| (job, sample)))
                .collect(),
            active: Vec::new(),
            prefixes: BTreeMap::new(),
            completions: vec![vec![None; params.n]; jobs.len()],
        }
    }

    /// One forward pass: prompts of newly admitted jobs, and one token of every active sample.
    fn step(&mut self) -> Result<bool, ModelError> {
        self.admit()?;
        let new = self.reserve_prompts();
        if new.is_empty() && self.active.is_empty() {
            if self.waiting.is_empty() {
                return Ok(false);
            }
            // Cannot be: with nothing active all rows are free, and one job always fits.
            let (index, _) = self.waiting.front().copied().unwrap_or_default();
            let reason = "the cache has no place for the prompt".into();
            return Err(ModelError::InvalidInput { index, reason });
        }

        let mut input = DecoderInput::default();
        let mut logit_rows = Vec::new();
        for (job, rows) in &new {
            let ids = self.jobs.get(*job).map_or(&[][..], |job| &job.input_ids);
            let start = input.input_ids.len();
            input.input_ids.extend_from_slice(ids);
            input.positions.extend(0..ids.len());
            input.cache_rows.extend(rows.clone());
            input.segments.push(Segment {
                queries: start..start + ids.len(),
                keys: vec![rows.clone()],
            });
            logit_rows.push(start + ids.len() - 1);
        }
        for sequence in &self.active {
            let at = input.input_ids.len();
            // The token before the one to come: its key and value are stored now.
            let own = sequence.num_tokens - 1;
            input.input_ids.push(sequence.last_token);
            input.positions.push(sequence.prefix.len() + own);
            input.cache_rows.push(sequence.rows.start + own);
            input.segments.push(Segment {
                queries: at..at + 1,
                keys: vec![
                    sequence.prefix.clone(),
                    sequence.rows.start..sequence.rows.start + own + 1,
                ],
            });
            logit_rows.push(at);
        }
        let failed = |e| ModelError::backend("the forward pass failed", e);
        let hidden = self
            .decoder
            .hidden_states(&input, Some(&mut self.cache))
            .map_err(failed)?;
        let logits = self.decoder.logits(hidden, &logit_rows).map_err(failed)?;
        let logits: Vec<f32> = logits
            .into_data()
            .try_into_vec()
            .map_err(|e| ModelError::backend("reading the logits failed", format!("{e:?}")))?;
        let mut rows = logits.chunks_exact(self.decoder.config().vocab_size.max(1));

        for (job, range) in new {
            let logits = rows.next().unwrap_or_default().to_vec();
            let prefix = Prefix {
                rows: range,
                logits,
                remaining: self.params.n,
            };
            self.prefixes.insert(job, prefix);
        }
        self.advance(rows)?;
        self.admit()?;
        Ok(true)
    }

    /// Takes rows for the prompts of the next jobs, as many as one pass should compute and as have
    /// a free place.
    fn reserve_prompts(&mut self) -> Vec<(usize, Range<usize>)> {
        let mut reserved = Vec::new();
        let mut places = self.max_batch.saturating_sub(self.active.len());
        let mut tokens = 0;
        let mut next = self
            .waiting
            .front()
            .map_or(self.jobs.len(), |&(job, _)| job);
        if self.prefixes.contains_key(&next) {
            return reserved; // samples of a prompt that is there come first
        }
        while let Some(job) = self.jobs.get(next).filter(|_| places > 0) {
            let len = job.input_ids.len();
            if tokens > 0 && tokens + len > self.max_prefill_tokens {
                break;
            }
            let Some(rows) = self.pool.allocate(len) else {
                break;
            };
            tokens += len;
            places = places.saturating_sub(self.params.n);
            reserved.push((next, rows));
            next += 1;
        }
        reserved
    }

    /// Starts waiting samples whose prompts are there, while there is place.
    fn admit(&mut self) -> Result<(), ModelError> {
        while let Some(&(job, sample)) = self.waiting.front() {
            if !self.prefixes.contains_key(&job) {
                break;
            }
            let Some(rows) = self.slots.pop() else { break };
            self.waiting.pop_front();
            self.start(job, sample, rows)?;
        }
        Ok(())
    }

    fn start(&mut self, job: usize, sample: usize, rows: Range<usize>) -> Result<(), ModelError> {
        let Some(prefix) = self.prefixes.get(&job) else {
            return Ok(());
        };
        let ids = self.jobs.get(job).map_or(&[][..], |job| &job.input_ids);
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let index = (sample as u64).to_le_bytes();
        let mut sequence = Sequence {
            job,
            sample,
            prefix: prefix.rows.clone(),
            rows,
            last_token: 0,
            num_tokens: 0,
            text: self.tokenizer.stream_decoder(),
            rng: grsap_core::rng(self.params.seed, "sample", &[&ids, &index]),
        };
        match self.extend(&mut sequence, &prefix.logits)? {
            None => self.active.push(sequence),
            Some(reason) => self.complete(sequence, reason),
        }
        Ok(())
    }

    /// Draws the next token of every active sample.
    fn advance<'l>(&mut self, logits: impl Iterator<Item = &'l [f32]>) -> Result<(), ModelError> {
        for (mut sequence, logits) in std::mem::take(&mut self.active).into_iter().zip(logits) {
            match self.extend(&mut sequence, logits)? {
                None => self.active.push(sequence),
                Some(reason) => self.complete(sequence, reason),
            }
        }
        Ok(())
    }

    fn extend(
        &self,
        sequence: &mut Sequence,
        logits: &[f32],
    ) -> Result<Option<FinishReason>, ModelError> {
        let token =
            sample(logits, self.params, &mut sequence.rng).ok_or(ModelError::NonFinite {
                index: sequence.job,
                what: "logit",
            })?;
        sequence.last_token = token;
        sequence.num_tokens += 1;
        if self.tokenizer.is_eos(token) {
            return Ok(Some(FinishReason::Eos));
        }
        let before = sequence.text.text().len();
        sequence.text.push(token);
        if self.stop_at(sequence.text.text(), before).is_some() {
            return Ok(Some(FinishReason::Stop));
        }
        Ok((sequence.num_tokens == self.params.max_new_tokens).then_some(FinishReason::Length))
    }

    /// Where the first stop text begins, if one ends behind byte `before`.
    fn stop_at(&self, text: &str, before: usize) -> Option<usize> {
        self.params
            .stop
            .iter()
            .filter_map(|stop| {
                let mut from = (before + 1).saturating_sub(stop.len());
                while !text.is_char_boundary(from) {
                    from -= 1;
                }
                text.get(from..)?.find(stop.as_str()).map(|at| from + at)
            })
            .min()
    }

    fn complete(&mut self, mut sequence: Sequence, finish_reason: FinishReason) {
        if finish_reason != FinishReason::Stop {
            sequence.text.finish();
        }
        let mut text = sequence.text.text().to_owned();
        if finish_reason == FinishReason::Stop
            && let Some(at) = self.stop_at(&text, 0)
        {
            text.truncate(at);
        }
        let slot = self.completions.get_mut(sequence.job);
        if let Some(slot) = slot.and_then(|samples| samples.get_mut(sequence.sample)) {
            *slot = Some(Completion {
                text,
                num_tokens: sequence.num_tokens,
                finish_reason,
            });
        }
        self.slots.push(sequence.rows);
        if let Some(prefix) = self.prefixes.get_mut(&sequence.job) {
            prefix.remaining -= 1;
            if prefix.remaining == 0 {
                self.pool.release(prefix.rows.clone());
                self.prefixes.remove(&sequence.job);
            }
        }
    }

    fn finish(self) -> Result<Vec<Generation>, ModelError> {
        self.completions
            .into_iter()
            .enumerate()
            .map(|(index, samples)| {
                let completions = samples.into_iter().collect::<Option<Vec<_>>>();
                let missing = || ModelError::InvalidInput {
                    index,
                    reason: "a sample was not finished".into(),
                };
                Ok(Generation {
                    completions: completions.ok_or_else(missing)?,
                })
            })
            .collect()
    }
}
