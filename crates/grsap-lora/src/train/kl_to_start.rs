use burn::tensor::{DType, Tensor, activation};
use grsap_model::{Decoder, DecoderInput};

use super::chunked_loss::ChunkedLoss;
use super::error::TrainError;
use super::leaves::GradientSums;
use crate::example::SftExample;

/// Rows whose logits are in memory together.
const CHUNK: usize = if cfg!(test) { 3 } else { 128 };

/// The distance of a model's predictions on some tokens from those it started with.
///
/// # Source
///
/// KL(start || now) of the next token's distribution, as in learning without forgetting (Li and
/// Hoiem 2016) at temperature 1, on replay alone.
pub(super) struct KlToStart<'a> {
    pub(super) start: &'a Decoder,
    pub(super) now: &'a Decoder,
    /// What its value is multiplied by in the loss.
    pub(super) coef: f64,
}

/// One row that predicts a token: where it is in the hidden states of the pass, and among those of
/// the examples alone; and its weight.
struct Row {
    in_pass: usize,
    alone: usize,
    weight: f32,
}

impl KlToStart<'_> {
    /// The weighted divergence over the targets of those examples of a pass that have a weight,
    /// and a term for the loss with its gradient. Gradients that do not go through the hidden
    /// states are added to `sums`. `None` where no example has a weight.
    pub(super) fn term(
        &self,
        examples: &[&SftExample],
        weight: impl Fn(&SftExample) -> Option<f64>,
        hidden: &Tensor<2>,
        sums: &mut GradientSums<'_>,
    ) -> Result<Option<(f64, Tensor<1>)>, TrainError> {
        let (mut rows, mut chosen) = (Vec::new(), Vec::new());
        let (mut in_pass, mut alone) = (0, 0);
        for example in examples {
            if let Some(weight) = weight(example) {
                rows.extend(example.targets().map(|(position, _)| Row {
                    // The row before a token predicts it.
                    in_pass: in_pass + position - 1,
                    alone: alone + position - 1,
                    weight: weight as f32,
                }));
                chosen.push(example.input_ids());
                alone += example.input_ids().len();
            }
            in_pass += example.input_ids().len();
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let before = self
            .start
            .hidden_states(&DecoderInput::packed(chosen), None)?;
        // A GPU's logits have the type of its weights; 16 bits are too few for differences of
        // logarithms.
        let log_probabilities = |model: &Decoder, hidden: Tensor<2>, rows: &[usize]| {
            let logits = model.logits(hidden, rows)?.cast(DType::F32);
            Ok::<_, TrainError>(activation::log_softmax(logits, 1))
        };
        let (mut value, mut loss) = (0.0, ChunkedLoss::over(hidden));
        for rows in rows.chunks(CHUNK) {
            let in_pass: Vec<usize> = rows.iter().map(|row| row.in_pass).collect();
            let alone: Vec<usize> = rows.iter().map(|row| row.alone).collect();
            let weights: Vec<f32> = rows.iter().map(|row| row.weight).collect();
            let weights = Tensor::<1>::from_floats(weights.as_slice(), &hidden.device());
            let before = log_probabilities(self.start, before.clone(), &alone)?;
            let now = log_probabilities(self.now, loss.hidden(), &in_pass)?;
            let divergence = (before.clone().exp() * (before - now)).sum_dim(1);
            let sum = (divergence * weights.unsqueeze_dim(1)).sum();
            value += crate::adapter::read("divergence", sum.clone())?
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
            loss.add(sum * self.coef, sums);
        }
        Ok(Some((value, loss.term(hidden))))
    }
}
