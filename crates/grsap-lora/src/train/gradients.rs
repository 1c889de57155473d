use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, TensorData};
use grsap_kernels::Dropout;
use grsap_model::{Decoder, DecoderInput};
use serde::{Deserialize, Serialize};

use super::chunked_loss::ChunkedLoss;
use super::error::TrainError;
use super::kl_to_start::KlToStart;
use super::layer_inputs::LayerInputs;
use super::leaves::{GradientSums, Leaves};
use super::trainable::Trainable;
use crate::adapter::{AdapterError, read};
use crate::example::{ExampleName, REPLAY, SftExample};

/// Logits that are in memory at once where the head is trained.
const MOST_LOGITS: usize = if cfg!(test) { 120 } else { 1 << 24 };

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
    /// gradient is due: less memory for about a third more time. The numbers are the same,
    /// on the CPU to the bit.
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
    /// The weighted mean divergence on replay, in nats, before its factor; if it was asked for and
    /// there is replay in the step.
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
/// [`TrainError::NoExamples`] where there is no micro-batch or an empty one,
/// [`AdapterError::NoAdapter`], [`TrainError::Kernel`] for token ids beyond the vocabulary, or
/// [`TrainError::NonFinite`] with the positions of the examples, counted through all micro-batches.
pub fn loss_gradients(
    decoder: &mut Decoder,
    trainable: &dyn Trainable,
    micro_batches: &[Vec<&SftExample>],
    config: LossConfig<'_>,
    dropout: impl Fn(usize) -> Option<Dropout>,
) -> Result<LossGradients, TrainError> {
    shared_loss_gradients(decoder, &mut [], trainable, micro_batches, config, dropout)
}

/// A copy of the decoder on another device.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) decoder: Decoder,
    /// A copy of the model to stay near to.
    pub(super) start: Option<Decoder>,
}

/// The same, with the passes shared out among the decoder and its replicas. Gradients are summed on
/// the decoder's device in the order of the passes: where devices compute alike, the result is that of
/// the decoder alone.
pub(super) fn shared_loss_gradients(
    decoder: &mut Decoder,
    replicas: &mut [Replica],
    trainable: &dyn Trainable,
    micro_batches: &[Vec<&SftExample>],
    config: LossConfig<'_>,
    dropout: impl Fn(usize) -> Option<Dropout>,
) -> Result<LossGradients, TrainError> {
    if micro_batches.is_empty() || micro_batches.iter().any(Vec::is_empty) {
        return Err(TrainError::NoExamples);
    }
    for replica in replicas.iter_mut() {
        let device = replica.decoder.device();
        let values = trainable.parameters(decoder).into_iter();
        let values = values.map(|(_, value)| value.to_device(&device));
        trainable.set_parameters(&mut replica.decoder, values.collect())?;
    }
    let (mut decoders, mut starts) = (vec![decoder], vec![config.kl.map(|(start, _)| start)]);
    for replica in replicas {
        decoders.push(&mut replica.decoder);
        starts.push(replica.start.as_ref());
    }
    // Share all tensors, and leave no graph behind.
    let checkpointing = config.gradient_checkpointing;
    let untracked = decoders
        .iter()
        .map(|d| checkpointing.then(|| (**d).clone()));
    let untracked: Vec<Option<Decoder>> = untracked.collect();
    let leaves = decoders.iter_mut().map(|d| Leaves::track(d, trainable));
    let leaves = leaves.collect::<Result<Vec<_>, _>>()?;
    let workers = decoders
        .iter()
        .zip(&untracked)
        .zip(leaves.iter().zip(starts));
    let workers: Vec<Worker<'_>> = workers
        .map(|((decoder, untracked), (leaves, start))| Worker {
            decoder,
            untracked: untracked.as_ref(),
            leaves,
            kl: start.zip(config.kl.map(|(_, coef)| coef)),
        })
        .collect();
    let step = Step {
        micro_batches,
        config,
    };
    let result = step.accumulate(&workers, dropout);
    // Whatever happened, the decoders are left fit for inference.
    for (decoder, leaves) in decoders.into_iter().zip(leaves) {
        leaves.untrack(decoder, trainable)?;
    }
    result
}

/// What one device computes passes with.
struct Worker<'a> {
    decoder: &'a Decoder,
    untracked: Option<&'a Decoder>,
    leaves: &'a Leaves,
    kl: Option<(&'a Decoder, f64)>,
}

/// One forward and backward pass.
struct Pass<'a> {
    worker: &'a Worker<'a>,
    examples: &'a [&'a SftExample],
    dropout: Option<Dropout>,
    weight: &'a (dyn Fn(&SftExample) -> f64 + Sync),
    kl_weight: &'a (dyn Fn(&SftExample) -> Option<f64> + Sync),
    with_gradients: bool,
}

/// What a pass adds to the step.
struct PassLoss<'a> {
    /// Of each example, weighted.
    losses: Vec<f64>,
    kl: Option<f64>,
    /// `None` where a loss is not finite, or if they were not asked for.
    gradients: Option<GradientSums<'a>>,
}

impl<'a> Pass<'a> {
    fn run(&self) -> Result<PassLoss<'a>, TrainError> {
        let Worker {
            decoder,
            untracked,
            leaves,
            kl,
        } = *self.worker;
        let (targets, weights) = targets(self.examples, self.weight);
        let mut input = DecoderInput::packed(self.examples.iter().map(|e| e.input_ids()));
        input.dropout = self.dropout;
        let kept = untracked
            .map(|untracked| LayerInputs::of(untracked, &input))
            .transpose()?;
        let hidden = match &kept {
            None => decoder.hidden_states(&input, None)?,
            Some(kept) => decoder.blocks(&input).norm(kept.last())?,
        };
        let mut sums = leaves.zero();
        let (values, mut whole) = match decoder.head_weight().is_tracked() {
            true => targets.nll_in_chunks(decoder, &hidden, &weights, &mut sums)?,
            false => {
                let nll = targets.nll(decoder, hidden.clone())?;
                let factors = TensorData::from(weights.as_slice());
                let factors = Tensor::<1>::from_data(factors, &decoder.device());
                // Without the graph, so that the backward pass can let go of it.
                (nll.clone().detach(), (nll * factors).sum())
            }
        };
        if !self.with_gradients {
            return Ok(PassLoss {
                losses: self.losses(values, &weights)?,
                kl: None,
                gradients: None,
            });
        }
        let mut kl_value = None;
        if let Some((start, coef)) = kl {
            let now = decoder;
            let kl = KlToStart { start, now, coef };
            if let Some((value, term)) =
                kl.term(self.examples, self.kl_weight, &hidden, &mut sums)?
            {
                kl_value = Some(value);
                whole = whole + term;
            }
        }
        drop(hidden);
        if whole.is_tracked() {
            let mut gradients = whole.backward();
            sums.take(&mut gradients);
            if let Some(kept) = kept {
                kept.backward(&decoder.blocks(&input), gradients, &mut sums)?;
            }
        } else if !decoder.head_weight().is_tracked() {
            // A head that is trained alone has its gradients already.
            return Err(AdapterError::NoAdapter.into());
        }
        // Read when everything has been asked for: a GPU does not wait for the host meanwhile.
        let losses = self.losses(values, &weights)?;
        let is_finite = losses.iter().all(|loss| loss.is_finite());
        Ok(PassLoss {
            losses,
            kl: kl_value,
            gradients: is_finite.then_some(sums),
        })
    }

    /// The weighted loss of each example.
    fn losses(&self, nll: Tensor<1>, weights: &[f32]) -> Result<Vec<f64>, TrainError> {
        let values = read("losses", nll)?;
        let mut values = values.into_iter().zip(weights);
        let of_example = |example: &&SftExample| {
            let values = values.by_ref().take(example.num_targets());
            values
                .map(|(nll, weight)| f64::from(nll) * f64::from(*weight))
                .sum()
        };
        Ok(self.examples.iter().map(of_example).collect())
    }
}

/// Runs passes of different devices at the same time.
fn at_once<'a>(passes: &[Pass<'a>]) -> Vec<Result<PassLoss<'a>, TrainError>> {
    let [first, others @ ..] = passes else {
        return Vec::new();
    };
    std::thread::scope(|scope| {
        let others = others.iter().map(|pass| scope.spawn(|| pass.run()));
        let others: Vec<_> = others.collect();
        let mut results = vec![first.run()];
        for other in others {
            results.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        results
    })
}

/// The passes of one optimiser step.
struct Step<'a> {
    micro_batches: &'a [Vec<&'a SftExample>],
    config: LossConfig<'a>,
}

impl<'a> Step<'a> {
    fn examples(&self) -> impl Iterator<Item = &'a SftExample> {
        self.micro_batches.iter().flatten().copied()
    }

    fn accumulate(
        &self,
        workers: &[Worker<'_>],
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) -> Result<LossGradients, TrainError> {
        let Some(first) = workers.first() else {
            return Err(TrainError::NoExamples);
        };
        let weight = self.config.weighting.of(self.examples());
        let is_replay = |example: &SftExample| example.group() == Some(REPLAY);
        let replay = self.examples().filter(|example| is_replay(example));
        let kl_weight = self.config.weighting.of(replay);
        let kl_weight = |example: &SftExample| is_replay(example).then(|| kl_weight(example));
        let (mut loss, mut kl_value) = (0.0, None);
        let mut sums = first.leaves.zero();
        let (mut non_finite, mut position) = (Vec::new(), 0);
        // A pass for each device at a time, so that few gradients wait for their turn.
        for (round, micro_batches) in self.micro_batches.chunks(workers.len()).enumerate() {
            let passes = workers.iter().zip(micro_batches).enumerate();
            let passes: Vec<Pass<'_>> = passes
                .map(|(index, (worker, examples))| Pass {
                    worker,
                    examples,
                    dropout: dropout(round * workers.len() + index),
                    weight: &weight,
                    kl_weight: &kl_weight,
                    with_gradients: non_finite.is_empty(),
                })
                .collect();
            for result in at_once(&passes) {
                let pass = result?;
                for part in pass.losses {
                    if !part.is_finite() {
                        non_finite.push(position);
                    }
                    loss += part;
                    position += 1;
                }
                if let Some(kl) = pass.kl {
                    *kl_value.get_or_insert(0.0) += kl;
                }
                if let Some(gradients) = pass.gradients {
                    sums.add(gradients);
                }
            }
        }
        let names = self.examples().enumerate();
        let names = names.map(|(position, example)| ExampleName::of(position, example));
        let non_finite_of = |what, examples| TrainError::NonFinite {
            what,
            step: 0,
            examples,
        };
        if !non_finite.is_empty() {
            let examples = names.filter(|name| non_finite.contains(&name.index));
            return Err(non_finite_of("loss", examples.collect()));
        }
        if kl_value.is_some_and(|kl| !kl.is_finite()) {
            return Err(non_finite_of("divergence", names.collect()));
        }
        let num_targets = self.examples().map(SftExample::num_targets);
        Ok(LossGradients {
            loss,
            kl: kl_value,
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

    /// The same where the head is trained, and their weighted sum. Nothing fused computes the gradient
    /// by a head, so that the logits of some rows at a time are held, and their part of it is added to
    /// `sums`.
    fn nll_in_chunks(
        &self,
        decoder: &Decoder,
        hidden: &Tensor<2>,
        weights: &[f32],
        sums: &mut GradientSums<'_>,
    ) -> Result<(Tensor<1>, Tensor<1>), TrainError> {
        let [vocab, _] = decoder.head_weight().dims();
        let most = (MOST_LOGITS / vocab.max(1)).max(1);
        let mut loss = ChunkedLoss::over(hidden);
        let mut values = Vec::new();
        let rows = self.rows.chunks(most).zip(self.ids.chunks(most));
        for ((rows, ids), weights) in rows.zip(weights.chunks(most)) {
            let chunk = Self {
                rows: rows.to_vec(),
                ids: ids.to_vec(),
            };
            let nll = chunk.nll(decoder, loss.hidden())?;
            values.push(nll.clone().inner());
            let weights = Tensor::<1>::from_data(TensorData::from(weights), &decoder.device());
            loss.add((nll * weights).sum(), sums);
        }
        Ok((Tensor::cat(values, 0), loss.term(hidden)))
    }
}

/// Every target of a micro-batch, and its weight.
fn targets(examples: &[&SftExample], weight: impl Fn(&SftExample) -> f64) -> (Targets, Vec<f32>) {
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
