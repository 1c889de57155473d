use std::fs;
use std::path::Path;

use serde_json::json;

use super::shards::{write, write_json};
use super::{SaveConfig, SaveError};
use crate::chat_model::ChatModel;
use crate::decoder::Decoder;

impl ChatModel {
    /// Writes the model as a directory in Hugging Face's layout, which [`ChatModel::load`],
    /// transformers and vLLM read: `config.json`, `generation_config.json`, `tokenizer.json`,
    /// `tokenizer_config.json` with the chat template, and the weights.
    ///
    /// The directory must not be there, or be empty. It appears under its name when it is complete.
    ///
    /// # Errors
    ///
    /// [`SaveError`]: an adapter that was not merged, a rotary scaling that `config.json` has no
    /// words for, a weight too large for the storage type, or what the file system says.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use burn::tensor::Device;
    /// # use grsap_model::{ChatModel, SaveConfig};
    /// let model = ChatModel::load("SmolLM2-135M-Instruct.Q4_1.gguf", &Device::flex())?;
    /// model.save_pretrained("smollm2", &SaveConfig::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_pretrained(
        &self,
        dir: impl AsRef<Path>,
        config: &SaveConfig,
    ) -> Result<(), SaveError> {
        let tokenizer = self.tokenizer();
        let files = tokenizer
            .hugging_face_files(self.template())
            .map_err(|reason| SaveError::Tokenizer { reason })?;
        complete(dir.as_ref(), |dir| {
            write_decoder(self.decoder(), dir, config)?;
            let ids = json!({
                "bos_token_id": tokenizer.bos_id(),
                "eos_token_id": tokenizer.eos_ids(),
                "pad_token_id": tokenizer.pad_id(),
            });
            write_json(&dir.join("generation_config.json"), &ids)?;
            for (name, content) in files {
                let path = dir.join(name);
                grsap_core::write_atomic(&path, content.as_bytes())
                    .map_err(SaveError::io(&path))?;
            }
            Ok(())
        })
    }
}

impl Decoder {
    /// Writes `config.json` and the weights alone; see [`ChatModel::save_pretrained`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn save_pretrained(
        &self,
        dir: impl AsRef<Path>,
        config: &SaveConfig,
    ) -> Result<(), SaveError> {
        complete(dir.as_ref(), |dir| write_decoder(self, dir, config))
    }

    /// Whether the model has a form in Hugging Face's layout, before hours are spent on training it.
    ///
    /// # Errors
    ///
    /// [`SaveError::Unsupported`], as [`save_pretrained`](Self::save_pretrained).
    pub fn check_saves(&self) -> Result<(), SaveError> {
        self.config().to_hf_json().map(drop)
    }
}

fn write_decoder(decoder: &Decoder, dir: &Path, config: &SaveConfig) -> Result<(), SaveError> {
    if let Some((projection, _)) = decoder.projections().find(|(_, p)| p.lora().is_some()) {
        return Err(SaveError::Adapter { projection });
    }
    let mut json = decoder.config().to_hf_json()?;
    json.insert("torch_dtype".into(), json!(config.dtype.torch_name()));
    write_json(&dir.join("config.json"), &json.into())?;
    write(dir, &decoder.named_tensors(), config)
}

/// Fills a directory beside `dir` and renames it.
fn complete(
    dir: &Path,
    fill: impl FnOnce(&Path) -> Result<(), SaveError>,
) -> Result<(), SaveError> {
    let exists = || SaveError::Exists {
        dir: dir.to_owned(),
    };
    let is_there = dir.symlink_metadata().is_ok();
    if is_there {
        if dir.is_symlink() {
            return Err(exists());
        }
        let mut entries = fs::read_dir(dir).map_err(|_| exists())?;
        if entries.next().is_some() {
            return Err(exists());
        }
    }
    let parent = grsap_core::folder_of(dir);
    fs::create_dir_all(parent).map_err(SaveError::io(parent))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let hidden = builder.tempdir_in(parent).map_err(SaveError::io(parent))?;
    fill(hidden.path())?;
    if is_there {
        fs::remove_dir(dir).map_err(|_| exists())?;
    }
    fs::rename(hidden.path(), dir).map_err(SaveError::io(dir))?;
    let _ = hidden.keep(); // it has another name now
    Ok(())
}
