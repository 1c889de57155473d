use std::collections::BTreeMap;

use burn::tensor::Tensor;
use grsap_model::{Decoder, Parameter};
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::error::TrainError;
use super::report::{StepReport, TrainReport};
use super::trainable::Trainable;

/// All that changes from step to step, but for the parameters on the decoder.
pub(super) struct State {
    pub(super) optimizer: AdamW,
    /// The running average of the parameters, if the run keeps one.
    pub(super) average: Option<Vec<Tensor<2>>>,
    pub(super) totals: Totals,
}

/// What a run has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Totals {
    /// In single precision, which JSON gives back exactly.
    pub(super) losses: Vec<f32>,
    pub(super) num_examples: usize,
    pub(super) examples_by_group: BTreeMap<String, usize>,
    pub(super) num_tokens: usize,
    pub(super) num_target_tokens: usize,
    pub(super) target_tokens_by_group: BTreeMap<String, usize>,
    pub(super) seconds: f64,
}

impl State {
    /// Moves the average towards the parameters.
    pub(super) fn average(&mut self, parameters: &[Tensor<2>], decay: f64) {
        if let Some(average) = &mut self.average {
            for (average, now) in average.iter_mut().zip(parameters) {
                *average = average.clone() * decay + now.clone() * (1.0 - decay);
            }
        }
    }

    /// The decoder as people get it: with the average, if there is one.
    pub(super) fn finished(
        &self,
        decoder: &Decoder,
        trainable: &dyn Trainable,
    ) -> Result<Decoder, TrainError> {
        let mut decoder = decoder.clone();
        if let Some(average) = &self.average {
            set(&mut decoder, trainable, average.iter().cloned())?;
        }
        Ok(decoder)
    }
}

/// Replaces what is trained.
pub(super) fn set(
    decoder: &mut Decoder,
    trainable: &dyn Trainable,
    values: impl IntoIterator<Item = Tensor<2>>,
) -> Result<(), TrainError> {
    let parameters = trainable.parameters(decoder).into_iter().zip(values);
    let parameters = parameters
        .map(|((_, old), new)| old.with_values(new))
        .collect::<Result<Vec<_>, _>>()?;
    trainable.set_parameters(decoder, parameters)
}

/// What is trained, without tracking, as matrices.
pub(super) fn matrices(decoder: &Decoder, trainable: &dyn Trainable) -> Vec<Tensor<2>> {
    let parameters = trainable.parameters(decoder).into_iter();
    parameters.map(|(_, p)| p.to_matrix().inner()).collect()
}

/// Which of what is trained has weight decay: matrices.
pub(super) fn decays(decoder: &Decoder, trainable: &dyn Trainable) -> Vec<bool> {
    let parameters = trainable.parameters(decoder).into_iter();
    parameters
        .map(|(_, p)| matches!(p, Parameter::Matrix(_)))
        .collect()
}

impl Totals {
    pub(super) fn add(&mut self, report: &StepReport) {
        self.losses.push(report.loss as f32);
        self.num_examples += report.num_examples;
        self.num_tokens += report.num_tokens;
        self.num_target_tokens += report.num_target_tokens;
        for (sums, counts) in [
            (&mut self.examples_by_group, &report.examples_by_group),
            (
                &mut self.target_tokens_by_group,
                &report.target_tokens_by_group,
            ),
        ] {
            for (group, count) in counts {
                *sums.entry(group.clone()).or_default() += count;
            }
        }
        self.seconds += report.seconds;
    }

    pub(super) fn report(self, stopped: bool) -> TrainReport {
        TrainReport {
            steps: self.losses.len(),
            losses: self.losses.into_iter().map(f64::from).collect(),
            num_examples: self.num_examples,
            examples_by_group: self.examples_by_group,
            num_tokens: self.num_tokens,
            num_target_tokens: self.num_target_tokens,
            target_tokens_by_group: self.target_tokens_by_group,
            seconds: self.seconds,
            stopped,
        }
    }
}
