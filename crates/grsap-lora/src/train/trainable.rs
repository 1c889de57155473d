use std::path::Path;

use grsap_model::{Decoder, Parameter};
use serde_json::Value;

use super::checkpoint::CheckpointError;
use super::error::TrainError;
use crate::adapter::{
    AdapterDtype, AdapterFactors, LoraConfig, check_attached, replace, save_adapter,
};

/// What a run trains of a decoder: its adapters ([`LoraConfig`]) or all of its weights
/// ([`FullFineTuning`](crate::FullFineTuning)).
pub trait Trainable {
    /// The name of the kind, in checkpoints.
    fn kind(&self) -> &'static str;

    /// The settings that change what is computed, for checkpoints to be compared by.
    fn settings(&self) -> Value;

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Names the field that is out of range.
    fn validate(&self) -> Result<(), TrainError>;

    /// Makes a decoder fit to be trained.
    ///
    /// # Errors
    ///
    /// Says what the decoder lacks.
    fn prepare(&self, decoder: &mut Decoder) -> Result<(), TrainError>;

    /// What is trained, under the names that files have, always in the same order.
    fn parameters(&self, decoder: &Decoder) -> Vec<(String, Parameter)>;

    /// Replaces what is trained, in the order of [`parameters`](Self::parameters).
    ///
    /// # Errors
    ///
    /// When they are not as many, or of other shapes.
    fn set_parameters(
        &self,
        decoder: &mut Decoder,
        values: Vec<Parameter>,
    ) -> Result<(), TrainError>;

    /// The model as the run finds it, to stay near to. It keeps its values while `decoder` is trained.
    fn starting_model(&self, decoder: &Decoder) -> Decoder;

    /// Probability that an input of an adapter is dropped.
    fn dropout(&self) -> f64;

    /// Whether [`save`](Self::save) can write this model. Asked before a run with an output directory.
    ///
    /// # Errors
    ///
    /// What has no form in the files.
    fn can_save(&self, decoder: &Decoder) -> Result<(), CheckpointError> {
        let _ = decoder;
        Ok(())
    }

    /// Writes what people load into the directory of a checkpoint.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn save(
        &self,
        decoder: &Decoder,
        base_model: Option<&str>,
        dir: &Path,
    ) -> Result<(), CheckpointError>;
}

/// The adapters that are [attached](crate::attach) to the decoder.
impl Trainable for LoraConfig {
    fn kind(&self) -> &'static str {
        "lora"
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn validate(&self) -> Result<(), TrainError> {
        Ok(Self::validate(self)?)
    }

    fn prepare(&self, decoder: &mut Decoder) -> Result<(), TrainError> {
        Ok(check_attached(decoder, self)?)
    }

    fn parameters(&self, decoder: &Decoder) -> Vec<(String, Parameter)> {
        AdapterFactors::of(decoder)
            .into_entries()
            .map(|(name, factor)| (name, Parameter::Matrix(factor)))
            .collect()
    }

    fn set_parameters(
        &self,
        decoder: &mut Decoder,
        values: Vec<Parameter>,
    ) -> Result<(), TrainError> {
        let factors = values.into_iter().map(|parameter| match parameter {
            Parameter::Matrix(factor) => factor,
            vector @ Parameter::Vector(_) => vector.to_matrix(),
        });
        Ok(replace(decoder, factors)?)
    }

    /// With the adapter as it is: a fresh one changes nothing yet. Copies share the base model.
    fn starting_model(&self, decoder: &Decoder) -> Decoder {
        decoder.clone()
    }

    fn dropout(&self) -> f64 {
        self.lora_dropout
    }

    fn save(
        &self,
        decoder: &Decoder,
        base_model: Option<&str>,
        dir: &Path,
    ) -> Result<(), CheckpointError> {
        Ok(save_adapter(
            decoder,
            self,
            base_model,
            AdapterDtype::F32,
            dir,
        )?)
    }
}
