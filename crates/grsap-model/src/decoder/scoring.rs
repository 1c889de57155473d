use burn::tensor::Tensor;
use grsap_core::ModelError;
use grsap_kernels::KernelError;

use super::model::{Decoder, DecoderInput, select_rows};
use crate::batches::by_length;

/// Tokens that one forward pass of scoring takes in.
const SCORING_TOKENS: usize = 2048;

/// Tokens, and the places of those that are scored.
type Scored<'a> = (&'a [u32], Vec<usize>);

impl Decoder {
    /// The negative log-likelihoods of the tokens that are marked, for each sequence of tokens and
    /// marks: their sum in nats and their number. The first token of a sequence follows from nothing and
    /// is never scored.
    ///
    /// Sequences of like length go through the model together, which on the CPU changes no number.
    ///
    /// # Errors
    ///
    /// When a sequence is longer than the context, has a token that is not in the vocabulary, or a
    /// likelihood is not finite.
    pub fn target_nll(
        &self,
        sequences: &[(&[u32], &[bool])],
    ) -> Result<Vec<(f64, usize)>, ModelError> {
        let limit = self.config().max_position_embeddings;
        for (index, (ids, _)) in sequences.iter().enumerate() {
            if ids.len() > limit {
                return Err(ModelError::TooLong {
                    index,
                    num_tokens: ids.len(),
                    limit,
                });
            }
        }
        let lengths: Vec<usize> = sequences.iter().map(|(ids, _)| ids.len()).collect();
        let mut sums = vec![(0.0, 0); sequences.len()];
        for batch in by_length(&lengths, SCORING_TOKENS) {
            let chosen = batch.iter().filter_map(|&index| sequences.get(index));
            let chunk: Vec<Scored<'_>> = chosen
                .map(|&(ids, marks)| (ids, places(ids, marks)))
                .collect();
            let losses = self
                .chunk_losses(&chunk)
                .map_err(|e| ModelError::backend("the forward pass failed", e))?
                .try_into_vec_as::<f32>()
                .map_err(|e| ModelError::backend("reading the losses failed", e))?;
            let mut losses = losses.into_iter();
            for (index, (_, places)) in batch.into_iter().zip(chunk) {
                let sum: f64 = losses.by_ref().take(places.len()).map(f64::from).sum();
                if !sum.is_finite() {
                    return Err(ModelError::NonFinite {
                        index,
                        what: "log-likelihood",
                    });
                }
                if let Some(of_sequence) = sums.get_mut(index) {
                    *of_sequence = (sum, places.len());
                }
            }
        }
        Ok(sums)
    }

    fn chunk_losses(&self, chunk: &[Scored<'_>]) -> Result<Tensor<1>, KernelError> {
        let input = DecoderInput::packed(chunk.iter().map(|(ids, _)| *ids));
        let mut rows = Vec::new();
        let mut labels = Vec::new();
        let mut start = 0;
        for (ids, places) in chunk {
            for &place in places {
                if let Some(&id) = ids.get(place) {
                    rows.push(start + place - 1);
                    labels.push(id);
                }
            }
            start += ids.len();
        }
        if rows.is_empty() {
            return Ok(Tensor::zeros([0], &self.device()));
        }
        let hidden = select_rows(self.hidden_states(&input, None)?, &rows)?;
        self.nll(hidden, &labels)
    }
}

/// Where the marked tokens are, but for the first.
fn places(ids: &[u32], marks: &[bool]) -> Vec<usize> {
    let marked = ids.iter().zip(marks).enumerate().skip(1);
    marked
        .filter(|(_, (_, is_marked))| **is_marked)
        .map(|(place, _)| place)
        .collect()
}
