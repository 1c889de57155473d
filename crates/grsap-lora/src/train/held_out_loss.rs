use std::path::Path;

use grsap_model::{Decoder, DecoderConfig, SafetensorsFile};

use super::callback::BoxError;
use super::error::TrainError;
use crate::adapter::{ADAPTER_CONFIG, load_adapter};
use crate::example::SftExample;

/// The loss on examples that are not trained on, as [`KeepBest`](crate::KeepBest) wants it: the mean
/// negative log-likelihood of a target token, in nats, with what a checkpoint holds.
///
/// # Examples
///
/// ```no_run
/// use burn::tensor::Device;
/// use grsap_lora::{
///     HeldOutLoss, KeepBest, LoraConfig, SftExample, Trainer, TrainerConfig, attach,
/// };
/// use grsap_model::ChatModel;
///
/// # fn train(examples: &[SftExample], held_out: Vec<SftExample>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut model = ChatModel::load("model.gguf", &Device::flex())?;
/// let config = TrainerConfig { save_steps: Some(50), ..TrainerConfig::default() };
/// let trainer = Trainer::new(config, LoraConfig::default())?.with_output_dir("run");
/// let loss = HeldOutLoss::new(model.decoder(), held_out)?;
/// let mut best = KeepBest::lowest("run/best", loss.metric()).with_name("loss").with_patience(3);
/// attach(model.decoder_mut(), trainer.lora(), 0)?;
/// trainer.train(model.decoder_mut(), examples, &mut [&mut best])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HeldOutLoss {
    decoder: Decoder,
    examples: Vec<SftExample>,
}

impl HeldOutLoss {
    /// Works on a copy of the decoder that shares its weights.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoExamples`].
    pub fn new(decoder: &Decoder, examples: Vec<SftExample>) -> Result<Self, TrainError> {
        if examples.is_empty() {
            return Err(TrainError::NoExamples);
        }
        let decoder = decoder.clone();
        Ok(Self { decoder, examples })
    }

    /// The loss with the adapter in `dir`, or of the whole model in it.
    ///
    /// # Errors
    ///
    /// What cannot be loaded, or does not fit the model.
    pub fn of(&mut self, dir: &Path) -> Result<f64, TrainError> {
        if dir.join(ADAPTER_CONFIG).is_file() {
            load_adapter(&mut self.decoder, dir)?;
            return self.mean_nll(&self.decoder);
        }
        let load = || {
            let config = DecoderConfig::from_hf_file(&dir.join("config.json"))?;
            let device = self.decoder.device();
            Decoder::load(&SafetensorsFile::open(dir)?, &config, &device)
        };
        let decoder = load().map_err(super::checkpoint::CheckpointError::from)?;
        self.mean_nll(&decoder)
    }

    fn mean_nll(&self, decoder: &Decoder) -> Result<f64, TrainError> {
        let sequences: Vec<(&[u32], &[bool])> = self
            .examples
            .iter()
            .map(|example| (example.input_ids(), example.is_target()))
            .collect();
        let scores = decoder.target_nll(&sequences)?;
        let (sums, counts): (Vec<f64>, Vec<usize>) = scores.into_iter().unzip();
        Ok(sums.iter().sum::<f64>() / counts.iter().sum::<usize>() as f64)
    }

    /// What [`KeepBest`](crate::KeepBest) asks for each checkpoint.
    pub fn metric(mut self) -> impl FnMut(usize, &Path) -> Result<f64, BoxError> {
        move |_step, dir| Ok(self.of(dir)?)
    }
}
