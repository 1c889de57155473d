use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use grsap_core::{Completion, FinishReason, Generation, ModelError, SamplingParams};
use grsap_kernels::Segment;

use super::budget::Budget;
use super::config::EngineConfig;
use super::draws::{Draws, Extended, Sequence};
use super::row_pool::RowPool;
use crate::decoder::{Decoder, DecoderInput, KvCache};
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

/// Continues every job `params.n` times.
///
/// Finished samples make place for waiting ones at once. Each prompt is computed once; its samples
/// read the same rows of the cache. On the CPU, what a sample says depends on the seed, the prompt and
/// the sample's index alone.
pub(crate) fn generate(
    decoder: &Decoder,
    tokenizer: &ChatTokenizer,
    jobs: &[Job],
    params: &SamplingParams,
    config: &EngineConfig,
) -> Result<Vec<Generation>, ModelError> {
    if jobs.is_empty() {
        return Ok(Vec::new()); // nothing to make a cache for
    }
    let mut run = Run::new(decoder, tokenizer, jobs, params, config)?;
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
    ) -> Result<Self, ModelError> {
        let prompts: Vec<usize> = jobs.iter().map(|job| job.input_ids.len()).collect();
        let context = decoder.config().max_position_embeddings;
        let bytes_per_row = KvCache::bytes_per_row(decoder.config());
        let Budget {
            max_batch,
            prompt_rows,
        } = Budget::new(&prompts, params, config, context, bytes_per_row)?;
        let slot = |i: usize| prompt_rows + i * params.max_new_tokens;
        let num_rows = slot(max_batch);
        Ok(Self {
            decoder,
            tokenizer,
            jobs,
            params,
            max_batch,
            max_prefill_tokens: config.max_prefill_tokens,
            cache: KvCache::new(decoder.config(), num_rows, &decoder.device())
                .cast(decoder.head_weight().input_dtype()),
            pool: RowPool::new(prompt_rows),
            slots: (0..max_batch).rev().map(|i| slot(i)..slot(i + 1)).collect(),
            waiting: (0..jobs.len())
                .flat_map(|job| (0..params.n).map(move |sample| (job, sample)))
                .collect(),
            active: Vec::new(),
            prefixes: BTreeMap::new(),
            completions: vec![vec![None; params.n]; jobs.len()],
        })
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
            .try_into_vec_as::<f32>()
            .map_err(|e| ModelError::backend("reading the logits failed", e))?;
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
        self.advance(&rows.collect::<Vec<_>>())?;
        self.admit()?;
        Ok(true)
    }

    /// Takes rows for the prompts of the next jobs: so many that all free places can be taken, and the
    /// next one that becomes free at once; and as one pass should compute.
    fn reserve_prompts(&mut self) -> Vec<(usize, Range<usize>)> {
        let is_ready = |(job, _): &&(usize, usize)| self.prefixes.contains_key(job);
        let ready = self.waiting.iter().take_while(is_ready).count();
        let places = self.max_batch.saturating_sub(self.active.len()) + 1;
        let mut wanted = places.saturating_sub(ready);
        let mut next = self
            .waiting
            .get(ready)
            .map_or(self.jobs.len(), |&(job, _)| job);
        let mut reserved = Vec::new();
        let mut tokens = 0;
        while let Some(job) = self.jobs.get(next).filter(|_| wanted > 0) {
            let len = job.input_ids.len();
            if tokens > 0 && tokens + len > self.max_prefill_tokens {
                break;
            }
            let Some(rows) = self.pool.allocate(len) else {
                break;
            };
            tokens += len;
            wanted = wanted.saturating_sub(self.params.n);
            reserved.push((next, rows));
            next += 1;
        }
        reserved
    }

    /// Starts waiting samples whose prompts are there, while there is place.
    fn admit(&mut self) -> Result<(), ModelError> {
        loop {
            let mut started = Vec::new();
            let mut logits: Vec<&[f32]> = Vec::new();
            while let Some(&(job, sample)) = self.waiting.front() {
                let Some(prefix) = self.prefixes.get(&job) else {
                    break;
                };
                let Some(rows) = self.slots.pop() else { break };
                self.waiting.pop_front();
                started.push(self.sequence(job, sample, prefix, rows));
                logits.push(&prefix.logits);
            }
            if started.is_empty() {
                return Ok(());
            }
            let extended = self.draws().extend_all(started, &logits);
            // A sample that ends with its first token makes place for another one.
            self.settle(extended)?;
        }
    }

    fn sequence(&self, job: usize, sample: usize, prefix: &Prefix, rows: Range<usize>) -> Sequence {
        let ids = self.jobs.get(job).map_or(&[][..], |job| &job.input_ids);
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let index = (sample as u64).to_le_bytes();
        Sequence {
            job,
            sample,
            prefix: prefix.rows.clone(),
            rows,
            last_token: 0,
            num_tokens: 0,
            text: self.tokenizer.stream_decoder(),
            rng: grsap_core::rng(self.params.seed, "sample", &[&ids, &index]),
        }
    }

    fn draws(&self) -> Draws<'a> {
        Draws {
            tokenizer: self.tokenizer,
            params: self.params,
        }
    }

    /// Draws the next token of every active sample.
    fn advance(&mut self, logits: &[&[f32]]) -> Result<(), ModelError> {
        let active = std::mem::take(&mut self.active);
        let extended = self.draws().extend_all(active, logits);
        self.settle(extended)
    }

    /// Keeps what goes on, and what has ended.
    fn settle(&mut self, extended: Vec<Extended>) -> Result<(), ModelError> {
        for (sequence, outcome) in extended {
            match outcome? {
                None => self.active.push(sequence),
                Some(reason) => self.complete(sequence, reason),
            }
        }
        Ok(())
    }

    fn complete(&mut self, mut sequence: Sequence, finish_reason: FinishReason) {
        if finish_reason != FinishReason::Stop {
            sequence.text.finish();
        }
        let mut text = sequence.text.text().to_owned();
        if finish_reason == FinishReason::Stop
            && let Some(at) = self.draws().stop_at(&text, 0)
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
