use std::collections::BTreeMap;

use burn::tensor::{Gradients, Int, Tensor, TensorData};
use grsap_kernels::Dropout;
use grsap_model::{Decoder, DecoderInput};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::layer_inputs::LayerInputs;
use crate::adapter::{AdapterError, read, tensors, track, untrack};
use crate::example::SftExample;

/// What weighs the same in the loss of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossWeighting {
    /// Every target token of the step, however they are spread over examples and passes; as in
    /// transformers.
    #[default]
    PerToken,
    /// Every example of the step: a short answer counts as much as a long one.
    PerExample,
}

/// How [`loss_gradients`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossConfig {
    /// What weighs the same.
    pub weighting: LossWeighting,
    /// Keep only what stands between the layers, and compute each layer a second time when its
    /// gradient is due. The numbers are the same, for less memory and about a third more time.
    pub gradient_checkpointing: bool,
}

/// The loss of one step and its gradient.
#[derive(Debug)]
pub struct LossGradients {
    /// The weighted mean negative log-likelihood, in nats.
    pub loss: f64,
    /// By every factor, in the order of [`AdapterFactors`](crate::AdapterFactors).
    pub gradients: Vec<Tensor<2>>,
    /// Tokens that went through the decoder.
    pub num_tokens: usize,
    /// Tokens that the loss is over.
    pub num_target_tokens: usize,
    /// The same for each group of the examples that have one.
    pub target_tokens_by_group: BTreeMap<String, usize>,
}

/// The loss of some micro-batches taken together, and its gradient by the factors of the decoder's
/// adapters. Each micro-batch is one forward and backward pass; how examples are spread over them
/// changes only rounding. `dropout` gives the mask of each.
///
/// # Errors
///
/// [`AdapterError::NoAdapter`], [`TrainError::Kernel`] for token ids beyond the vocabulary, or
/// [`TrainError::NonFinite`] with the positions of the examples, counted through all micro-batches.
pub fn loss_gradients(
    decoder: &mut Decoder,
    micro_batches: &[Vec<&SftExample>],
    config: LossConfig,
    dropout: impl Fn(usize) -> Option<Dropout>,
) -> Result<LossGradients, TrainError> {
    // Shares all tensors, and leaves no graph behind.
    let untracked = config.gradient_checkpointing.then(|| decoder.clone());
    track(decoder)?;
    let weighting = config.weighting;
    let result = accumulate(
        decoder,
        untracked.as_ref(),
        micro_batches,
        weighting,
        dropout,
    );
    // Whatever happened, the decoder is left fit for inference.
    untrack(decoder)?;
    result
}

fn accumulate(
    decoder: &Decoder,
    untracked: Option<&Decoder>,
    micro_batches: &[Vec<&SftExample>],
    weighting: LossWeighting,
    dropout: impl Fn(usize) -> Option<Dropout>,
) -> Result<LossGradients, TrainError> {
    let examples = || micro_batches.iter().flatten();
    let num_examples = examples().count();
    if num_examples == 0 {
        return Err(TrainError::NoExamples);
    }
    let num_target_tokens = examples().map(|example| example.num_targets()).sum();
    let weight = |example: &SftExample| match weighting {
        LossWeighting::PerToken => 1.0 / num_target_tokens as f64,
        LossWeighting::PerExample => 1.0 / (num_examples * example.num_targets()) as f64,
    };
    let mut loss = 0.0;
    let mut sums: Vec<Tensor<2>> = Vec::new();
    let mut non_finite = Vec::new();
    let mut first = 0;
    for (index, micro_batch) in micro_batches.iter().enumerate() {
        let (targets, weights) = targets(micro_batch, &weight);
        let mut input = DecoderInput::packed(micro_batch.iter().map(|e| e.input_ids()));
        input.dropout = dropout(index);
        let kept = untracked
            .map(|untracked| LayerInputs::of(untracked, &input))
            .transpose()?;
        let hidden = match &kept {
            None => decoder.hidden_states(&input, None)?,
            Some(kept) => decoder.blocks(&input).norm(kept.last())?,
        };
        let nll = targets.nll(decoder, hidden)?;
        let values = read("losses", nll.clone())?;
        let mut values = values.into_iter().zip(&weights);
        for (position, example) in micro_batch.iter().enumerate() {
            let part: f64 = values
                .by_ref()
                .take(example.num_targets())
                .map(|(nll, weight)| f64::from(nll) * f64::from(*weight))
                .sum();
            if !part.is_finite() {
                non_finite.push(first + position);
            }
            loss += part;
        }
        first += micro_batch.len();
        if !non_finite.is_empty() {
            continue;
        }
        let weights = TensorData::from(weights.as_slice());
        let weights = Tensor::<1>::from_data(weights, &decoder.device());
        let loss = (nll * weights).sum();
        let gradients = match kept {
            None => backward(decoder, loss)?,
            Some(kept) => kept.backward(&decoder.blocks(&input), loss)?,
        };
        sums = match sums.is_empty() {
            true => gradients,
            false => sums
                .into_iter()
                .zip(gradients)
                .map(|(a, b)| a + b)
                .collect(),
        };
    }
    if !non_finite.is_empty() {
        return Err(TrainError::NonFinite {
            what: "loss",
            step: 0,
            examples: non_finite,
        });
    }
    let mut target_tokens_by_group = BTreeMap::new();
    for example in examples() {
        if let Some(group) = example.group() {
            *target_tokens_by_group.entry(group.to_owned()).or_default() += example.num_targets();
        }
    }
    Ok(LossGradients {
        loss,
        gradients: sums,
        num_tokens: examples().map(|example| example.input_ids().len()).sum(),
        num_target_tokens,
        target_tokens_by_group,
    })
}

/// The targets of a micro-batch.
struct Targets {
    /// The row of the hidden states that predicts each.
    rows: Vec<i32>,
    ids: Vec<u32>,
}

impl Targets {
    fn nll(&self, decoder: &Decoder, hidden: Tensor<2>) -> Result<Tensor<1>, TrainError> {
        let rows = TensorData::from(self.rows.as_slice());
        let hidden = hidden.select(0, Tensor::<1, Int>::from_data(rows, &decoder.device()));
        Ok(decoder.nll(hidden, &self.ids)?)
    }
}

/// Every target of a micro-batch, and its weight.
fn targets(examples: &[&SftExample], weight: &impl Fn(&SftExample) -> f64) -> (Targets, Vec<f32>) {
    let (mut rows, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = 0;
    for example in examples {
        let weight = weight(example) as f32;
        for (position, id) in example.targets() {
            // The row before a token predicts it; a target is never the first of its sequence.
            rows.push((start + position) as i32 - 1);
            ids.push(id);
            weights.push(weight);
        }
        start += example.input_ids().len();
    }
    (Targets { rows, ids }, weights)
}

fn backward(decoder: &Decoder, loss: Tensor<1>) -> Result<Vec<Tensor<2>>, TrainError> {
    if !loss.is_tracked() {
        return Err(AdapterError::NoAdapter.into());
    }
    let mut gradients = loss.backward();
    Ok(tensors(decoder)
        .map(|(_, factor)| take_gradient(factor, &mut gradients))
        .collect())
}

/// A factor that the loss does not depend on has no entry.
pub(super) fn take_gradient(factor: &Tensor<2>, gradients: &mut Gradients) -> Tensor<2> {
    factor
        .grad_remove(gradients)
        .unwrap_or_else(|| factor.clone().inner().zeros_like())
}
