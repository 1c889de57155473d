use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use grsap_kernels::Dropout;
use grsap_model::Decoder;
use rand::Rng;

use super::adamw::AdamW;
use super::callback::Callback;
use super::checkpoint::CheckpointDir;
use super::clip::{clip_coefficient, grad_norm};
use super::data_order::DataOrder;
use super::error::TrainError;
use super::gradients::{LossGradients, Replica, shared_loss_gradients};
use super::lr_schedule::LrSchedule;
use super::passes::{check_fit, passes};
use super::report::{StepReport, TrainReport};
use super::run_identity::RunIdentity;
use super::state::{State, Totals, decays, matrices, set};
use super::trainable::Trainable;
use super::trainer_config::TrainerConfig;
use crate::adapter::LoraConfig;
use crate::example::{ExampleName, REPLAY, SftExample};

/// What to do with checkpoints of an earlier run in the output directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// Begin at the first step. Where there are checkpoints that is an error, so that none is lost.
    #[default]
    Never,
    /// Continue after the newest one, if there is one. The result is what the run would have given
    /// without the interruption, bit for bit on the CPU. One of another run (other settings, data or
    /// model) is an error.
    Latest,
}

/// Trains a decoder: its adapters, or all of its weights with
/// [`FullFineTuning`](crate::FullFineTuning).
///
/// # Examples
///
/// ```no_run
/// use burn::tensor::Device;
/// use grsap_data::Record;
/// use grsap_lora::{LoraConfig, SftConfig, SftEncoder, Trainer, TrainerConfig, attach};
/// use grsap_model::ChatModel;
///
/// let mut model = ChatModel::load("SmolLM2-135M-Instruct.Q4_1.gguf", &Device::flex())?;
/// let records = [Record::exchange("What is 2 + 3?", "5")];
/// let examples = SftEncoder::for_model(&model, SftConfig::default())?.encode(&records)?;
///
/// let trainer = Trainer::new(TrainerConfig::default(), LoraConfig::default())?;
/// attach(model.decoder_mut(), trainer.lora(), 0)?;
/// let report = trainer.train(model.decoder_mut(), &examples, &mut [])?;
/// println!("{:?}", report.losses);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Trainer<T = LoraConfig> {
    config: TrainerConfig,
    trainable: T,
    output_dir: Option<PathBuf>,
    base_model: Option<String>,
    resume: Resume,
    further_devices: Vec<Device>,
}

impl Trainer {
    /// The kind of adapters it trains.
    pub fn lora(&self) -> &LoraConfig {
        &self.trainable
    }
}

impl<T: Trainable> Trainer<T> {
    /// A trainer of adapters of the kind that a [`LoraConfig`] describes, or of all weights.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] or [`TrainError::Adapter`] for a field that is out of range.
    pub fn new(config: TrainerConfig, trainable: T) -> Result<Self, TrainError> {
        config.validate()?;
        trainable.validate()?;
        Ok(Self {
            config,
            trainable,
            output_dir: None,
            base_model: None,
            resume: Resume::default(),
            further_devices: Vec::new(),
        })
    }

    /// Writes checkpoints into a directory, as `checkpoint-<step>`: at the end of the run, and as often
    /// as [`TrainerConfig::save_steps`] says. A run has the directory to itself.
    #[must_use]
    pub fn with_output_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.output_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The name of the base model, for the configuration files of the checkpoints.
    #[must_use]
    pub fn with_base_model(mut self, name: impl Into<String>) -> Self {
        self.base_model = Some(name.into());
        self
    }

    /// Whether to continue an earlier run.
    #[must_use]
    pub fn with_resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// Shares the passes of every step with further devices, each of which gets a copy of the decoder
    /// (data parallelism). The decoder's own device does every first pass, sums the gradients in the
    /// order of the passes, and takes the step.
    ///
    /// There is something to share where a step has several passes: with
    /// `gradient_accumulation_steps` a multiple of the number of devices, each device has as many.
    /// What a step learns from is the same on one device and on many. Where devices compute alike,
    /// so is the result, to the last bit, and a run may go on with others.
    #[must_use]
    pub fn with_further_devices(mut self, devices: impl IntoIterator<Item = Device>) -> Self {
        self.further_devices = devices.into_iter().collect();
        self
    }

    /// How it trains.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// What it trains.
    pub fn trainable(&self) -> &T {
        &self.trainable
    }

    /// Trains with the schedule of the configuration.
    ///
    /// # Errors
    ///
    /// As [`train_with`](Self::train_with).
    pub fn train(
        &self,
        decoder: &mut Decoder,
        examples: &[SftExample],
        callbacks: &mut [&mut dyn Callback],
    ) -> Result<TrainReport, TrainError> {
        let schedule = self.config.schedule(self.config.num_steps(examples.len()));
        self.train_with(decoder, examples, schedule.as_ref(), callbacks)
    }

    /// Trains the adapters that are [attached](crate::attach) to the decoder, or all its weights.
    ///
    /// # Errors
    ///
    /// [`TrainError`]. The decoder then holds the values of the last finished step.
    pub fn train_with(
        &self,
        decoder: &mut Decoder,
        examples: &[SftExample],
        schedule: &dyn LrSchedule,
        callbacks: &mut [&mut dyn Callback],
    ) -> Result<TrainReport, TrainError> {
        let trainable = &self.trainable;
        self.check(decoder, examples)?;
        trainable.prepare(decoder)?;
        let config = &self.config;
        let checkpoints = match self.output_dir.as_deref() {
            Some(output_dir) => {
                trainable.can_save(decoder)?;
                Some(CheckpointDir {
                    output_dir,
                    trainable,
                    base_model: self.base_model.as_deref(),
                    identity: RunIdentity::new(config, trainable, decoder, examples, schedule)?,
                })
            }
            None => None,
        };
        let lock = checkpoints.as_ref().map(CheckpointDir::lock).transpose()?;
        let starting_model =
            |decoder: &Decoder| (config.kl_coef > 0.0).then(|| trainable.starting_model(decoder));
        let start = starting_model(decoder);
        // Before a checkpoint changes the decoder, so that each can start from its own copy.
        let replica = |device: &Device| {
            let decoder = decoder.to_device(device)?;
            let start = starting_model(&decoder);
            Ok::<_, TrainError>(Replica { decoder, start })
        };
        let replicas = self.further_devices.iter().map(replica);
        let mut replicas = replicas.collect::<Result<Vec<_>, _>>()?;
        let mut resumed = None;
        if let Some(checkpoints) = &checkpoints {
            checkpoints.clean()?;
            match self.resume {
                Resume::Never => checkpoints.must_be_free()?,
                Resume::Latest => {
                    let has_average = config.ema_decay.is_some();
                    resumed = checkpoints.resume(decoder, config.adamw(), has_average)?;
                }
            }
        }
        let mut state = resumed.unwrap_or_else(|| self.first_state(decoder));
        state.optimizer = state.optimizer.with_decay(decays(decoder, trainable));

        let num_steps = config.num_steps(examples.len());
        let groups: BTreeSet<&str> = examples.iter().filter_map(SftExample::group).collect();
        let lengths = examples.iter().map(|e| e.input_ids().len()).collect();
        let mut order = DataOrder::new(config, lengths);
        let first_step = state.optimizer.num_steps();
        tracing::info!(first_step, num_steps, examples = examples.len(), "training");
        call(callbacks, first_step, |c| c.may_start(first_step))?;
        call(callbacks, first_step, |c| c.on_start(first_step, num_steps))?;
        let mut stopped = false;
        // The newest checkpoint, while those beyond the limit wait for a sign that it is good.
        let mut unproven = None;
        if let (Some(checkpoints), true) = (&checkpoints, first_step > 0) {
            unproven = Some(first_step);
            let dir = checkpoints.dir_of(first_step);
            stopped = tell_of_checkpoint(callbacks, first_step, &dir)?;
        }
        for step in first_step..num_steps {
            if stopped {
                break;
            }
            let started = Instant::now();
            let batch = order.step(step);
            let taken = self.step(
                (decoder, &mut replicas),
                &mut state,
                examples,
                (step, batch),
                schedule,
                start.as_ref(),
            )?;
            let (mut gradients, lr, grad_norm) = taken;
            if let (Some(checkpoints), Some(proven)) = (&checkpoints, unproven.take()) {
                checkpoints.prune(proven, config.save_total_limit)?;
            }
            // A group that the step has nothing of has a share of 0.
            for &group in &groups {
                for counts in [
                    &mut gradients.examples_by_group,
                    &mut gradients.target_tokens_by_group,
                ] {
                    counts.entry(group.to_owned()).or_default();
                }
            }
            let report = StepReport {
                step: step + 1,
                num_steps,
                loss: gradients.loss,
                kl: gradients.kl,
                lr,
                grad_norm,
                num_examples: gradients.num_examples,
                examples_by_group: gradients.examples_by_group,
                num_tokens: gradients.num_tokens,
                num_target_tokens: gradients.num_target_tokens,
                target_tokens_by_group: gradients.target_tokens_by_group,
                seconds: started.elapsed().as_secs_f64(),
            };
            tracing::debug!(step = report.step, loss = report.loss, lr, grad_norm);
            state.totals.add(&report);
            for callback in callbacks.iter_mut() {
                let flow = callback.on_step(&report);
                let source = |source| TrainError::Callback {
                    step: report.step,
                    source,
                };
                stopped |= flow.map_err(source)? == ControlFlow::Break(());
            }
            let is_due = stopped
                || report.step == num_steps
                || config
                    .save_steps
                    .is_some_and(|every| report.step.is_multiple_of(every));
            if let Some(checkpoints) = checkpoints.as_ref().filter(|_| is_due) {
                let dir = checkpoints.save(decoder, &state)?;
                unproven = Some(report.step);
                stopped |= tell_of_checkpoint(callbacks, report.step, &dir)?;
            }
        }
        // A run that was ended early may have been so because it went wrong.
        if let (Some(checkpoints), Some(last), false) = (&checkpoints, unproven, stopped) {
            checkpoints.prune(last, config.save_total_limit)?;
        }
        drop(lock);
        *decoder = state.finished(decoder, trainable)?;
        let mut report = state.totals.report(stopped);
        report.stopped &= report.steps < num_steps;
        call(callbacks, report.steps, |c| c.on_end(&report))?;
        Ok(report)
    }

    fn check(&self, decoder: &Decoder, examples: &[SftExample]) -> Result<(), TrainError> {
        if examples.is_empty() {
            return Err(TrainError::NoExamples);
        }
        let limit = decoder.config().max_position_embeddings;
        let [vocab_size, _] = decoder.head_weight().dims();
        for (index, example) in examples.iter().enumerate() {
            let (ids, name) = (example.input_ids(), || ExampleName::of(index, example));
            if ids.len() > limit {
                return Err(TrainError::TooLong {
                    example: name(),
                    num_tokens: ids.len(),
                    limit,
                });
            }
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(TrainError::UnknownToken {
                    example: name(),
                    id,
                    vocab_size,
                });
            }
        }
        let is_replay = |example: &SftExample| example.group() == Some(REPLAY);
        if self.config.kl_coef > 0.0 && !examples.iter().any(is_replay) {
            let reason = format!("is set, but no example has the group `{REPLAY}`");
            return Err(TrainError::config("kl_coef", reason));
        }
        let lengths = examples.iter().enumerate();
        let lengths = lengths.map(|(index, e)| (ExampleName::of(index, e), e.input_ids().len()));
        check_fit(&self.config, lengths)?;
        if self.output_dir.is_none() && self.config.save_steps.is_some() {
            let reason = "is set, but there is no output directory";
            return Err(TrainError::config("save_steps", reason));
        }
        if self.output_dir.is_none() && self.resume == Resume::Latest {
            let reason = "asks for the latest checkpoint, but there is no output directory";
            return Err(TrainError::config("resume", reason));
        }
        Ok(())
    }

    fn first_state(&self, decoder: &Decoder) -> State {
        let parameters = matrices(decoder, &self.trainable);
        State {
            optimizer: AdamW::new(self.config.adamw(), &parameters),
            average: self.config.ema_decay.map(|_| parameters),
            totals: Totals::default(),
        }
    }

    /// One optimiser step on the examples of `batch`.
    fn step(
        &self,
        (decoder, replicas): (&mut Decoder, &mut [Replica]),
        state: &mut State,
        examples: &[SftExample],
        (step, batch): (usize, &[usize]),
        schedule: &dyn LrSchedule,
        start: Option<&Decoder>,
    ) -> Result<(LossGradients, f64, f64), TrainError> {
        let trainable = &self.trainable;
        let example = |index: &usize| examples.get(*index);
        let num_tokens = |index| example(&index).map_or(0, |e| e.input_ids().len());
        let passes = passes(&self.config, batch, num_tokens);
        let micro_batches: Vec<Vec<&SftExample>> = passes
            .iter()
            .map(|pass| pass.iter().filter_map(example).collect())
            .collect();
        let dropout = |micro_batch| self.dropout(step, micro_batch);
        let loss = self.config.loss(start);
        let gradients =
            shared_loss_gradients(decoder, replicas, trainable, &micro_batches, loss, dropout);
        let mut gradients =
            gradients.map_err(|error| name_examples(error, step, &passes.concat()))?;
        let grad_norm = grad_norm(&gradients.gradients)?;
        if !grad_norm.is_finite() {
            return Err(TrainError::NonFinite {
                what: "gradient norm",
                step: step + 1,
                examples: batch
                    .iter()
                    .filter_map(|&index| Some(ExampleName::of(index, example(&index)?)))
                    .collect(),
            });
        }
        let lr = schedule.lr(step);
        if !lr.is_finite() || lr < 0.0 {
            return Err(TrainError::LearningRate { step: step + 1, lr });
        }
        let parameters = matrices(decoder, trainable);
        let taken = std::mem::take(&mut gradients.gradients);
        let scale = clip_coefficient(grad_norm, self.config.max_grad_norm);
        let parameters = state.optimizer.step(parameters, taken, lr, scale)?;
        if let Some(decay) = self.config.ema_decay {
            state.average(&parameters, decay);
        }
        set(decoder, trainable, parameters)?;
        Ok((gradients, lr, grad_norm))
    }

    /// A mask for each pass of each step, the same in a run that is continued.
    fn dropout(&self, step: usize, micro_batch: usize) -> Option<Dropout> {
        let p = self.trainable.dropout();
        (p > 0.0).then(|| {
            let parts = [step as u64, micro_batch as u64].map(u64::to_le_bytes);
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
            let seed = grsap_core::rng(self.config.seed, "train.dropout", &parts).next_u64();
            Dropout { p, seed }
        })
    }
}

/// Turns positions within a step into indices of the training set.
fn name_examples(error: TrainError, step: usize, batch: &[usize]) -> TrainError {
    match error {
        TrainError::NonFinite { what, examples, .. } => TrainError::NonFinite {
            what,
            step: step + 1,
            examples: examples
                .into_iter()
                .filter_map(|name| {
                    let index = *batch.get(name.index)?;
                    Some(ExampleName { index, ..name })
                })
                .collect(),
        },
        other => other,
    }
}

/// Whether a callback ends the run.
fn tell_of_checkpoint(
    callbacks: &mut [&mut dyn Callback],
    step: usize,
    dir: &Path,
) -> Result<bool, TrainError> {
    let mut stopped = false;
    call(callbacks, step, |c| {
        stopped |= c.on_checkpoint(step, dir)? == ControlFlow::Break(());
        Ok(())
    })?;
    let measured: Vec<_> = callbacks.iter().flat_map(|c| c.measured(step)).collect();
    for (name, value) in measured {
        call(callbacks, step, |c| c.on_measured(step, &name, value))?;
    }
    Ok(stopped)
}

fn call(
    callbacks: &mut [&mut dyn Callback],
    step: usize,
    mut f: impl FnMut(&mut dyn Callback) -> Result<(), super::callback::BoxError>,
) -> Result<(), TrainError> {
    for callback in callbacks {
        f(&mut **callback).map_err(|source| TrainError::Callback { step, source })?;
    }
    Ok(())
}
