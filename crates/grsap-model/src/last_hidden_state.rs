use grsap_core::{Embedder, ModelError};

use crate::batches::by_length;
use crate::chat_model::ChatModel;
use crate::decoder::{DecoderInput, select_rows};
use crate::unit_vector::push_unit;

/// Tokens that one forward pass takes in.
const BATCH_TOKENS: usize = 2048;

/// The longest text that is looked at; a longer one is cut, here and at the end of the context.
const MAX_TOKENS: usize = 1024;

/// A text is the last layer's hidden state of its last token, behind the final norm, at unit length:
/// the features of MAUVE, whose usual model is GPT-2. To compare meanings, take a
/// [`SentenceEncoder`](crate::SentenceEncoder).
///
/// # Errors
///
/// [`ModelError::InvalidInput`] for a text of no tokens: it has no last one.
///
/// # Source
///
/// `featurize_tokens_from_model` of mauve-text, with the truncation (`max_text_length`) and the
/// scaling (`norm="l2"`) that its `compute_mauve` defaults to.
impl Embedder for ChatModel {
    fn dim(&self) -> usize {
        self.decoder().config().hidden_size
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let limit = MAX_TOKENS.min(self.decoder().config().max_position_embeddings);
        let mut sequences = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let mut ids = self.encode_text_at(index, text)?;
            if ids.is_empty() {
                let reason = "a text of no tokens has no last hidden state".into();
                return Err(ModelError::InvalidInput { index, reason });
            }
            ids.truncate(limit);
            sequences.push(ids);
        }
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut states = vec![Vec::new(); texts.len()];
        for batch in by_length(&lengths, BATCH_TOKENS) {
            let chunk = batch.iter().filter_map(|&index| sequences.get(index));
            let chunk: Vec<&[u32]> = chunk.map(Vec::as_slice).collect();
            let last = self.last_states(&chunk)?;
            for (index, state) in batch.into_iter().zip(last.chunks_exact(self.dim())) {
                if let Some(to) = states.get_mut(index) {
                    *to = state.iter().copied().map(f64::from).collect();
                }
            }
        }
        let mut out = Vec::with_capacity(texts.len() * self.dim());
        for (index, state) in states.iter().enumerate() {
            if state.iter().any(|x| !x.is_finite()) {
                let what = "hidden state";
                return Err(ModelError::NonFinite { index, what });
            }
            push_unit(state, &mut out);
        }
        Ok(out)
    }
}

impl ChatModel {
    /// `[sequences, hidden]`, row-major.
    fn last_states(&self, sequences: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let failed = |e| ModelError::backend("the forward pass failed", e);
        let input = DecoderInput::packed(sequences.iter().copied());
        let hidden = self.decoder().hidden_states(&input, None);
        let mut end = 0;
        let last = sequences.iter().map(|ids| {
            end += ids.len();
            end - 1
        });
        let last: Vec<usize> = last.collect();
        select_rows(hidden.map_err(failed)?, &last)
            .map_err(failed)?
            .try_into_vec_as::<f32>()
            .map_err(|e| ModelError::backend("reading the states failed", e))
    }
}
