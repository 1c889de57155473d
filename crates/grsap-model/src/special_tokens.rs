use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::load_error::{LoadError, read_json_if_there};

/// What a Hugging Face model says about its special tokens: `tokenizer_config.json`, and in old
/// models also `special_tokens_map.json`.
pub(crate) struct SpecialTokens {
    /// Texts by name: `bos_token`, `eos_token`, `image_token`, ...
    pub(crate) texts: BTreeMap<String, String>,
    /// Where each name was found.
    paths: BTreeMap<String, PathBuf>,
}

impl SpecialTokens {
    /// # Source
    ///
    /// `from_pretrained` in transformers: the map is read only where the config does not list the
    /// added tokens, and then it has the last word.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self, LoadError> {
        let mut tokens = Self {
            texts: BTreeMap::new(),
            paths: BTreeMap::new(),
        };
        let path = dir.join("tokenizer_config.json");
        let config = read_json_if_there(&path)?.unwrap_or(Json::Null);
        tokens.add(&path, config.as_object());
        tokens.add(
            &path,
            config.get("extra_special_tokens").and_then(Json::as_object),
        );
        if config.get("added_tokens_decoder").is_none() {
            let path = dir.join("special_tokens_map.json");
            let map = read_json_if_there(&path)?.unwrap_or(Json::Null);
            tokens.add(&path, map.as_object());
        }
        Ok(tokens)
    }

    /// The file that names this token, for error messages.
    pub(crate) fn path(&self, name: &str) -> &Path {
        self.paths.get(name).map_or(Path::new(""), PathBuf::as_path)
    }

    fn add(&mut self, path: &Path, entries: Option<&Map<String, Json>>) {
        for (name, token) in entries.into_iter().flatten() {
            // A token is a text, or an object with the text in it.
            let text = token.as_str().or_else(|| token.get("content")?.as_str());
            if let Some(text) = text.filter(|_| name.ends_with("_token")) {
                self.texts.insert(name.clone(), text.to_owned());
                self.paths.insert(name.clone(), path.to_owned());
            }
        }
    }
}
