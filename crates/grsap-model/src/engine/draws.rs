use std::ops::Range;

use grsap_core::{FinishReason, ModelError, SamplingParams};
use grsap_kernels::SoftmaxWeights;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::sampler::sample;
use crate::stream_decoder::StreamDecoder;
use crate::tokenizer::ChatTokenizer;

/// A sample on its way.
pub(super) struct Sequence {
    pub(super) job: usize,
    pub(super) sample: usize,
    pub(super) prefix: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) last_token: u32,
    pub(super) num_tokens: usize,
    pub(super) text: StreamDecoder,
    pub(super) rng: ChaCha8Rng,
}

/// A sample with one token more, and why it ends if it does.
pub(super) type Extended = (Sequence, Result<Option<FinishReason>, ModelError>);

/// How tokens are drawn from logits, and what ends a text.
#[derive(Clone, Copy)]
pub(super) struct Draws<'a> {
    pub(super) tokenizer: &'a ChatTokenizer,
    pub(super) params: &'a SamplingParams,
}

impl Draws<'_> {
    /// Draws a token for each sample from the logits at its place.
    pub(super) fn extend_all(self, sequences: Vec<Sequence>, logits: &[&[f32]]) -> Vec<Extended> {
        let sequences = sequences.into_par_iter().zip(logits);
        sequences
            .map_init(
                SoftmaxWeights::default,
                |weights, (mut sequence, logits)| {
                    let outcome = self.extend(&mut sequence, logits, weights);
                    (sequence, outcome)
                },
            )
            .collect()
    }

    fn extend(
        self,
        sequence: &mut Sequence,
        logits: &[f32],
        weights: &mut SoftmaxWeights,
    ) -> Result<Option<FinishReason>, ModelError> {
        let token = sample(logits, self.params, &mut sequence.rng, weights);
        let token = token.ok_or(ModelError::NonFinite {
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
    pub(super) fn stop_at(self, text: &str, before: usize) -> Option<usize> {
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
}
