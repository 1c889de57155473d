use grsap_model::Decoder;
use serde::{Deserialize, Serialize};

use super::adamw::AdamWConfig;
use super::error::TrainError;
use super::gradients::{LossConfig, LossWeighting};
use super::lr_schedule::{Constant, CosineWithMinLr, Linear, LrSchedule};

/// The shape of the learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// [`CosineWithMinLr`].
    #[default]
    CosineWithMinLr,
    /// [`Linear`].
    Linear,
    /// [`Constant`].
    Constant,
}

/// How a run trains. The fields have transformers' names.
///
/// # Source
///
/// The method's fine-tuning stage: AdamW, `weight_decay` 0.01, cosine down to half the peak after
/// `warmup_ratio` 0.1, one epoch. Its peak of 2e-6 is for full fine-tuning; LoRA needs about a
/// hundred times that, so the default here is 2e-4. Its batch of 32 is 8 here, for small machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// The peak of the schedule.
    pub learning_rate: f64,
    /// The shape of the schedule.
    pub lr_scheduler_type: LrSchedulerType,
    /// Share of the steps that warm up, in [0, 1]; rounded up to whole steps.
    pub warmup_ratio: f64,
    /// For the cosine: the last rate relative to the peak, in [0, 1].
    pub min_lr_rate: f64,
    /// Decoupled weight decay of all matrices: of adapters, and with
    /// [`FullFineTuning`](crate::FullFineTuning) of all but norms and biases.
    pub weight_decay: f64,
    /// Decay of the mean of the gradients.
    pub adam_beta1: f64,
    /// Decay of the mean of their squares.
    pub adam_beta2: f64,
    /// Added to the root of the mean square.
    pub adam_epsilon: f64,
    /// Passes over the examples.
    pub num_train_epochs: usize,
    /// Stop after so many steps, passing over the examples as often as that takes. Overrides
    /// `num_train_epochs`.
    pub max_steps: Option<usize>,
    /// Examples of one forward and backward pass.
    pub per_device_train_batch_size: usize,
    /// Passes of one step.
    ///
    /// The two numbers together say how many examples a step has. How they are spread over passes
    /// changes only rounding, and which inputs [`lora_dropout`](crate::LoraConfig::lora_dropout) drops.
    pub gradient_accumulation_steps: usize,
    /// Fill passes by tokens instead: a step's examples, longest first, each into the first pass
    /// that has room for it. What a pass takes in memory then does not depend on which examples
    /// come together. `None` for passes of `per_device_train_batch_size` examples.
    pub max_tokens_per_pass: Option<usize>,
    /// Clip the norm of all gradients together; `None` for no limit.
    pub max_grad_norm: Option<f64>,
    /// Keep a running average of what is trained (of each factor by itself): after every step
    /// `average = ema_decay * average + (1 - ema_decay) * weights`, in [0, 1). It begins as what the run
    /// starts from, which after n steps still has the share `ema_decay^n` of it: 0.99 is for several
    /// hundred steps. Checkpoints and the decoder at the end of the run have the average. `None` for the
    /// weights themselves.
    pub ema_decay: Option<f64>,
    /// Adds so many times the divergence of the model's predictions from those it started with,
    /// on examples of the group `replay`, of which there must be some. 0 for none.
    pub kl_coef: f64,
    /// What weighs the same in a step's loss.
    pub loss_weighting: LossWeighting,
    /// Compute each layer a second time on the way back instead of keeping what it computed: less
    /// memory for about a third more time. The result is the same, to the bit on the CPU.
    pub gradient_checkpointing: bool,
    /// Take the examples in a new order in each epoch.
    pub shuffle: bool,
    /// Take examples of like length together: each stretch of fifty steps is sorted by length, then
    /// its steps are shuffled. Steps are then more even in time and memory.
    pub group_by_length: bool,
    /// Fixes the order of the examples and the dropout.
    pub seed: u64,
    /// Write a checkpoint after every so many steps and at the end, wherever a run ends without an
    /// error; `None` for the end alone. There are checkpoints only where there is an
    /// [output directory](crate::Trainer::with_output_dir).
    pub save_steps: Option<usize>,
    /// Keep the last so many checkpoints; `None` for all. The oldest goes when the next step after
    /// a new one has a finite loss, or the run has come to its end: a run that diverges, or is ended
    /// by a callback, leaves the last good one.
    pub save_total_limit: Option<usize>,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 2e-4,
            lr_scheduler_type: LrSchedulerType::default(),
            warmup_ratio: 0.1,
            min_lr_rate: 0.5,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            num_train_epochs: 1,
            max_steps: None,
            per_device_train_batch_size: 8,
            gradient_accumulation_steps: 1,
            max_tokens_per_pass: None,
            max_grad_norm: Some(1.0),
            ema_decay: None,
            kl_coef: 0.0,
            loss_weighting: LossWeighting::default(),
            gradient_checkpointing: false,
            shuffle: true,
            group_by_length: false,
            seed: 0,
            save_steps: None,
            save_total_limit: None,
        }
    }
}

impl TrainerConfig {
    /// Checks the ranges of the fields.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the field.
    pub fn validate(&self) -> Result<(), TrainError> {
        let at_least_one = [
            ("num_train_epochs", Some(self.num_train_epochs)),
            ("max_steps", self.max_steps),
            (
                "per_device_train_batch_size",
                Some(self.per_device_train_batch_size),
            ),
            (
                "gradient_accumulation_steps",
                Some(self.gradient_accumulation_steps),
            ),
            ("max_tokens_per_pass", self.max_tokens_per_pass),
            ("save_steps", self.save_steps),
            ("save_total_limit", self.save_total_limit),
        ];
        for (field, value) in at_least_one {
            if value == Some(0) {
                return Err(TrainError::config(field, "must be at least 1, got 0"));
            }
        }
        let ranges = [
            ("learning_rate", self.learning_rate, 0.0..=f64::MAX),
            ("warmup_ratio", self.warmup_ratio, 0.0..=1.0),
            ("min_lr_rate", self.min_lr_rate, 0.0..=1.0),
            ("weight_decay", self.weight_decay, 0.0..=f64::MAX),
            ("adam_beta1", self.adam_beta1, 0.0..=1.0 - f64::EPSILON),
            ("adam_beta2", self.adam_beta2, 0.0..=1.0 - f64::EPSILON),
            // Without it, what has had no gradient yet would become 0 / 0.
            (
                "adam_epsilon",
                self.adam_epsilon,
                f64::from(f32::MIN_POSITIVE)..=f64::MAX,
            ),
            ("kl_coef", self.kl_coef, 0.0..=f64::MAX),
            (
                "ema_decay",
                self.ema_decay.unwrap_or(0.0),
                0.0..=1.0 - f64::EPSILON,
            ),
        ];
        for (field, value, range) in ranges {
            if !range.contains(&value) {
                return Err(TrainError::config(
                    field,
                    match (*range.start(), *range.end()) {
                        (0.0, f64::MAX) => format!("must be finite and at least 0, got {value}"),
                        (low, f64::MAX) => {
                            format!("must be finite and at least {low:e}, got {value}")
                        }
                        (low, 1.0) => format!("must be in [{low}, 1], got {value}"),
                        (low, _) => format!("must be in [{low}, 1), got {value}"),
                    },
                ));
            }
        }
        match self.max_grad_norm {
            Some(norm) if !(norm > 0.0 && norm.is_finite()) => {
                let reason = format!("must be positive, got {norm}");
                Err(TrainError::config("max_grad_norm", reason))
            }
            _ => Ok(()),
        }
    }

    /// Examples of one step.
    pub fn batch_size(&self) -> usize {
        self.per_device_train_batch_size
            .saturating_mul(self.gradient_accumulation_steps)
            .max(1)
    }

    /// Steps of a run over so many examples. The last step of an epoch may have fewer examples
    /// than the others.
    pub fn num_steps(&self, num_examples: usize) -> usize {
        let steps_per_epoch = num_examples.div_ceil(self.batch_size());
        self.max_steps
            .unwrap_or(steps_per_epoch.saturating_mul(self.num_train_epochs))
    }

    /// The schedule of a run of so many steps.
    pub fn schedule(&self, num_steps: usize) -> Box<dyn LrSchedule> {
        let peak = self.learning_rate;
        let num_warmup_steps = (self.warmup_ratio * num_steps as f64).ceil() as usize;
        match self.lr_scheduler_type {
            LrSchedulerType::CosineWithMinLr => Box::new(CosineWithMinLr {
                peak,
                num_warmup_steps,
                num_steps,
                min_lr_rate: self.min_lr_rate,
            }),
            LrSchedulerType::Linear => Box::new(Linear {
                peak,
                num_warmup_steps,
                num_steps,
            }),
            LrSchedulerType::Constant => Box::new(Constant {
                peak,
                num_warmup_steps,
            }),
        }
    }

    pub(super) fn loss<'a>(&self, start: Option<&'a Decoder>) -> LossConfig<'a> {
        LossConfig {
            weighting: self.loss_weighting,
            gradient_checkpointing: self.gradient_checkpointing,
            kl: start.map(|start| (start, self.kl_coef)),
        }
    }

    pub(super) fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            betas: (self.adam_beta1, self.adam_beta2),
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_out_of_range_is_named() {
        let default = TrainerConfig::default;
        let cases = [
            (
                "learning_rate",
                TrainerConfig {
                    learning_rate: f64::NAN,
                    ..default()
                },
            ),
            (
                "warmup_ratio",
                TrainerConfig {
                    warmup_ratio: 1.5,
                    ..default()
                },
            ),
            (
                "max_grad_norm",
                TrainerConfig {
                    max_grad_norm: Some(0.0),
                    ..default()
                },
            ),
            (
                "ema_decay",
                TrainerConfig {
                    ema_decay: Some(1.0),
                    ..default()
                },
            ),
            (
                "kl_coef",
                TrainerConfig {
                    kl_coef: -0.1,
                    ..default()
                },
            ),
            (
                "max_tokens_per_pass",
                TrainerConfig {
                    max_tokens_per_pass: Some(0),
                    ..default()
                },
            ),
            (
                "adam_epsilon",
                TrainerConfig {
                    adam_epsilon: 0.0,
                    ..default()
                },
            ),
            (
                "adam_beta2",
                TrainerConfig {
                    adam_beta2: 1.0,
                    ..default()
                },
            ),
            (
                "save_steps",
                TrainerConfig {
                    save_steps: Some(0),
                    ..default()
                },
            ),
            (
                "per_device_train_batch_size",
                TrainerConfig {
                    per_device_train_batch_size: 0,
                    ..default()
                },
            ),
        ];
        for (field, config) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
        assert!(default().validate().is_ok());
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let error = serde_json::from_str::<TrainerConfig>(r#"{"learning_rat": 1}"#).unwrap_err();
        assert!(error.to_string().contains("learning_rat"), "{error}");
    }

    #[test]
    fn steps_count_the_incomplete_batch_and_max_steps_overrides() {
        let config = TrainerConfig {
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 2,
            num_train_epochs: 3,
            ..TrainerConfig::default()
        };
        assert_eq!(config.num_steps(8), 6);
        assert_eq!(config.num_steps(9), 9);
        let config = TrainerConfig {
            max_steps: Some(5),
            ..config
        };
        assert_eq!(config.num_steps(9), 5);
    }
}
