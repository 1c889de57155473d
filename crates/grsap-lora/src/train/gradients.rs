use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, TensorData};
use grsap_kernels::Dropout;
use grsap_model::{Decoder, DecoderInput};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::kl_to_start::KlToStart;
use super::layer_inputs::LayerInputs;
use super::leaves::Leaves;
use super::trainable::Trainable;
use crate::adapter::{AdapterError, read};
use crate::example::{REPLAY, SftExample};

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

impl LossWeighting {
    /// The weight of each target token of an example, among all examples of a step.
    fn of<'a>(self, examples: impl Iterator<Item = &'a SftExample>) -> impl Fn(&SftExample) -> f64 {
        let (mut num_examples, mut num_targets) = (0, 0);
        for example in examples {
            num_examples += 1;
            num_targets += example.num_targets();
        }
        move |example| match self {
            Self::PerToken => 1.0 / num_targets as f64,
            Self::PerExample => 1.0 / (num_examples * example.num_targets()) as f64,
        }
    }
}

/// How [`loss_gradients`] computes.
#[derive(Debug, Clone, Copy, Default)]
pub struct LossConfig<'a> {
    /// What weighs the same.
    pub weighting: LossWeighting,
    /// Keep only what stands between the layers, and compute each layer a second time when its
    /// gradient is due: less memory for about a third more time. The numbers are the same; where
    /// norms are trained, but for rounding.
    pub gradient_checkpointing: bool,
    /// A model, and the factor by which the divergence from its predictions on examples of the
    /// group `replay` enters the loss.
    pub kl: Option<(&'a Decoder, f64)>,
}

/// The loss of one step and its gradient.
#[derive(Debug)]
pub struct LossGradients {
    /// The weighted mean negative log-likelihood, in nats.
    pub loss: f64,
    /// The weighted mean divergence on replay, in nats, before its factor; if it was asked for.
    pub kl: Option<f64>,
    /// By everything that is trained, in order; a vector is one row.
    pub gradients: Vec<Tensor<2>>,
    /// Examples.
    pub num_examples: usize,
    /// The same for each group of the examples that have one.
    pub examples_by_group: BTreeMap<String, usize>,
    /// Tokens that went through the decoder.
    pub num_tokens: usize,
    /// Tokens that the loss is over.
    pub num_target_tokens: usize,
    /// The same for each group of the examples that have one.
    pub target_tokens_by_group: BTreeMap<String, usize>,
}

/// The loss of some micro-batches taken together, and its gradient by what is trained of the
/// decoder. Each micro-batch is one forward and backward pass; how examples are spread over them
/// changes only rounding. `dropout` gives the mask of each.
///
/// # Errors
///
/// [`AdapterError::NoAdapter`], [`TrainError::Kernel`] for token ids beyond the vocabulary, or
/// [`TrainError::NonFinite`] with the positions of the examples, counted through all micro-batches.
pub fn loss_gradients(
    decoder: &mut Decoder,
    trainable: &dyn Trainable,
    micro_batches: &[Vec<&SftExample>],
    config: LossConfig<'_>,
    dropout: impl Fn(usize) -> Option<Dropout>,
) -> Result<LossGradients, TrainError> {
    if micro_batches.iter().all(Vec::is_empty) {
        return Err(TrainError::NoExamples);
    }
    // Shares all tensors, and leaves no graph behind.
    let untracked = config.gradient_checkpointing.then(|| decoder.clone());
    let leaves = Leaves::track(decoder, trainable)?;
    let step = Step {
        decoder,
        untracked: untracked.as_ref(),
        leaves: &leaves,
        micro_batches,
        config,
    };
    let result = step.accumulate(dropout);
    // Whatever happened, the decoder is left fit for inference.
    leaves.untrack(decoder, trainable)?;
    result
}

/// The passes of one optimiser step.
struct Step<'a> {
    decoder: &'a Decoder,
    untracked: Option<&'a Decoder>,
    leaves: &'a Leaves,
    micro_batches: &'a [Vec<&'a SftExample>],
    config: LossConfig<'a>,
}

impl<'a> Step<'a> {
    fn examples(&self) -> impl Iterator<Item = &'a SftExample> {
        self.micro_batches.iter().flatten().copied()
    }

    fn accumulate(
        &self,
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) -> Result<LossGradients, TrainError> {
        let decoder = self.decoder;
        let weight = self.config.weighting.of(self.examples());
        let is_replay = |example: &SftExample| example.group() == Some(REPLAY);
        let replay = self.examples().filter(|example| is_replay(example));
        let kl_weight = self.config.weighting.of(replay);
        let kl_weight = |example: &SftExample| is_replay(example).then(|| kl_weight(example));
        let (mut loss, mut kl_value) = (0.0, 0.0);
        let mut sums = self.leaves.zero();
        let mut non_finite = Vec::new();
        let mut first = 0;
        for (index, micro_batch) in self.micro_batches.iter().enumerate() {
            let (targets, weights) = targets(micro_batch, &weight);
            let mut input = DecoderInput::packed(micro_batch.iter().map(|e| e.input_ids()));
            input.dropout = dropout(index);
            let kept = self
                .untracked
                .map(|untracked| LayerInputs::of(untracked, &input))
                .transpose()?;
            let hidden = match &kept {
                None => decoder.hidden_states(&input, None)?,
                Some(kept) => decoder.blocks(&input).norm(kept.last())?,
            };
            let nll = targets.nll(decoder, hidden.clone())?;
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
            let mut whole = (nll * weights).sum();
            let mut of_pass = self.leaves.zero();
            if let Some((start, coef)) = self.config.kl {
                let now = decoder;
                let kl = KlToStart { start, now, coef };
                let term = kl.term(micro_batch, kl_weight, &hidden, &mut of_pass)?;
                if let Some((value, term)) = term {
                    kl_value += value;
                    whole = whole + term;
                }
            }
            drop(hidden);
            if !whole.is_tracked() {
                return Err(AdapterError::NoAdapter.into());
            }
            let mut gradients = whole.backward();
            of_pass.take(&mut gradients);
            if let Some(kept) = kept {
                kept.backward(&decoder.blocks(&input), gradients, &mut of_pass)?;
            }
            sums.add(of_pass);
        }
        if !non_finite.is_empty() {
            return Err(TrainError::NonFinite {
                what: "loss",
                step: 0,
                examples: non_finite,
            });
        }
        if !kl_value.is_finite() {
            return Err(TrainError::NonFinite {
                what: "divergence",
                step: 0,
                examples: (0..self.examples().count()).collect(),
            });
        }
        let num_targets = self.examples().map(SftExample::num_targets);
        Ok(LossGradients {
            loss,
            kl: self.config.kl.map(|_| kl_value),
            gradients: sums.into_gradients(),
            num_examples: self.examples().count(),
            examples_by_group: self.by_group(|_| 1),
            num_tokens: self.examples().map(|e| e.input_ids().len()).sum(),
            num_target_tokens: num_targets.sum(),
            target_tokens_by_group: self.by_group(SftExample::num_targets),
        })
    }

    /// A count of the examples that have a group, for each group.
    fn by_group(&self, count: impl Fn(&SftExample) -> usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for example in self.examples() {
            if let Some(group) = example.group() {
                *counts.entry(group.to_owned()).or_default() += count(example);
            }
        }
        counts
    }
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
