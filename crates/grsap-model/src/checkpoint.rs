use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chat_template::ChatTemplate;
use crate::decoder_config::DecoderConfig;
use crate::gguf::GgufFile;
use crate::load_error::LoadError;
use crate::safetensors_file::SafetensorsFile;
use crate::tokenizer::ChatTokenizer;
use crate::weights::{GgufWeights, TensorSource};

/// All that the files of a chat model say, before any tensor is on a device.
pub struct Checkpoint {
    /// The GGUF file or the directory.
    pub path: PathBuf,
    /// The shape of the decoder.
    pub config: DecoderConfig,
    /// Its weights, read when asked for.
    pub weights: Box<dyn TensorSource>,
    /// Its tokenizer.
    pub tokenizer: ChatTokenizer,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
}

impl Checkpoint {
    /// Opens a GGUF file, or a directory in Hugging Face's layout (`config.json`,
    /// `tokenizer.json`, `model.safetensors` or its shards).
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and the field that is missing or wrong.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open_dir(path);
        }
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            let reason = "holds weights alone: give the directory that has its configuration and \
                          tokenizer too";
            return Err(LoadError::invalid(path, "file", reason));
        }
        let file = Arc::new(GgufFile::open(path)?);
        Ok(Self {
            path: path.to_owned(),
            config: DecoderConfig::from_gguf(&file)?,
            tokenizer: ChatTokenizer::from_gguf(&file)?,
            template: ChatTemplate::from_gguf(&file)?,
            weights: Box::new(GgufWeights::new(file)?),
        })
    }

    fn open_dir(dir: &Path) -> Result<Self, LoadError> {
        Ok(Self {
            path: dir.to_owned(),
            config: DecoderConfig::from_hf_file(&dir.join("config.json"))?,
            tokenizer: ChatTokenizer::from_dir(dir)?,
            template: ChatTemplate::from_dir(dir)?,
            weights: Box::new(SafetensorsFile::open(dir)?),
        })
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::builder::{tiny_llama, tiny_tokenizer};

    #[test]
    fn a_gguf_file_has_everything() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let builder = tiny_tokenizer(tiny_llama())
            .text("tokenizer.chat_template", "{{ messages[0].content }}")
            .f32_tensor("token_embd.weight", &[2, 8], &[0.5; 16]);
        std::fs::write(file.path(), builder.build()).unwrap();
        let checkpoint = Checkpoint::open(file.path()).unwrap();
        assert_eq!(checkpoint.config.num_hidden_layers, 1);
        assert_eq!(checkpoint.weights.names(), ["model.embed_tokens.weight"]);
        assert_eq!(checkpoint.weights.path(), file.path());
        assert_eq!(checkpoint.tokenizer.eos_ids(), [2]);
        assert!(checkpoint.template.is_some());
        assert!(format!("{checkpoint:?}").contains("num_hidden_layers: 1"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("config.json"), "{message}");
        let absent = dir.path().join("absent.gguf");
        let message = Checkpoint::open(&absent).unwrap_err().to_string();
        assert_eq!(message, format!("cannot read {}", absent.display()));
    }
}
