use std::fs;
use std::path::Path;

use grsap_model::{Decoder, Parameter, SaveConfig, WeightDtype, WeightFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::checkpoint::CheckpointError;
use super::error::TrainError;
use super::trainable::Trainable;

/// Trains all weights: linear layers, norms, biases, embeddings and the head. A head that is tied
/// to the embedding stays tied.
///
/// Weights, gradients and the optimiser's means are `f32`: sixteen bytes a parameter, and while a step is
/// taken four more on the CPU, twelve more on a GPU, where it writes new tensors. Weight decay
/// is for matrices; norms and biases have none. While it is trained the decoder is
/// [unfrozen](Decoder::unfreeze), and it stays so: call [`Decoder::freeze`] to generate fast again.
///
/// A checkpoint is a directory that transformers loads (but for the tokenizer).
///
/// # Examples
///
/// ```no_run
/// use burn::tensor::Device;
/// use grsap_data::Record;
/// use grsap_lora::{FullFineTuning, SftConfig, SftEncoder, Trainer, TrainerConfig};
/// use grsap_model::{ChatModel, SaveConfig, WeightFormat};
///
/// let mut model = ChatModel::load("SmolLM2-135M-Instruct", &Device::flex())?;
/// let records = [Record::exchange("What is 2 + 3?", "5")];
/// let examples = SftEncoder::for_model(&model, SftConfig::default())?.encode(&records)?;
///
/// let config = TrainerConfig { learning_rate: 2e-6, ..TrainerConfig::default() };
/// let trainer = Trainer::new(config, FullFineTuning::default())?;
/// trainer.train(model.decoder_mut(), &examples, &mut [])?;
/// model.decoder_mut().freeze(WeightFormat::F32)?;
/// model.save_pretrained("tuned", &SaveConfig::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
///
/// The method's fine-tuning stage, whose authors train all weights. Which weights decay is as in
/// transformers' `Trainer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FullFineTuning {
    /// How checkpoints hold the weights. Whatever it is, a run continues from exact ones.
    pub save: SaveConfig,
}

impl Default for FullFineTuning {
    /// `f32`.
    fn default() -> Self {
        Self {
            save: SaveConfig {
                dtype: WeightDtype::F32,
                ..SaveConfig::default()
            },
        }
    }
}

impl Trainable for FullFineTuning {
    fn kind(&self) -> &'static str {
        "full"
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn validate(&self) -> Result<(), TrainError> {
        Ok(())
    }

    fn prepare(&self, decoder: &mut Decoder) -> Result<(), TrainError> {
        if let Some((projection, _)) = decoder.projections().find(|(_, p)| p.lora().is_some()) {
            return Err(TrainError::HasAdapter { projection });
        }
        decoder.unfreeze();
        Ok(())
    }

    fn parameters(&self, decoder: &Decoder) -> Vec<(String, Parameter)> {
        decoder.parameters()
    }

    fn set_parameters(
        &self,
        decoder: &mut Decoder,
        values: Vec<Parameter>,
    ) -> Result<(), TrainError> {
        Ok(decoder.set_parameters(values)?)
    }

    /// A copy: as much memory as the model.
    fn starting_model(&self, decoder: &Decoder) -> Decoder {
        let mut start = decoder.clone();
        // Only for its speed; `f32` is there on every device.
        let _ = start.freeze(WeightFormat::F32);
        start
    }

    fn dropout(&self) -> f64 {
        0.0
    }

    fn can_save(&self, decoder: &Decoder) -> Result<(), CheckpointError> {
        Ok(decoder.check_saves()?)
    }

    fn save(
        &self,
        decoder: &Decoder,
        _base_model: Option<&str>,
        dir: &Path,
    ) -> Result<(), CheckpointError> {
        // It is written beside what else is in the checkpoint.
        let aside = dir.join("weights");
        decoder.save_pretrained(&aside, &self.save)?;
        for entry in fs::read_dir(&aside).map_err(CheckpointError::io(&aside))? {
            let entry = entry.map_err(CheckpointError::io(&aside))?;
            let target = dir.join(entry.file_name());
            fs::rename(entry.path(), &target).map_err(CheckpointError::io(&target))?;
        }
        fs::remove_dir(&aside).map_err(CheckpointError::io(&aside))
    }
}
