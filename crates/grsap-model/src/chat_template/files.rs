use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::template::{ChatTemplate, NAME};
use crate::gguf::GgufFile;
use crate::load_error::{LoadError, read_json_if_there};
use crate::special_tokens::SpecialTokens;

impl ChatTemplate {
    /// Reads the default template of a Hugging Face model: from `chat_template.jinja` and
    /// `additional_chat_templates/default.jinja`, and only where there are no such files from
    /// `chat_template` in `tokenizer_config.json` (a text, or a list with one named `default`).
    ///
    /// The special tokens of `tokenizer_config.json` are variables of the template.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file that cannot be read or the template that does not parse, and the
    /// templates that there are where none of them is the default.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, LoadError> {
        let templates = match jinja_files(dir)? {
            files if files.is_empty() => in_config(dir)?,
            files => files,
        };
        // As in transformers, an additional file of that name wins: it comes first.
        let Some(default) = templates.iter().find(|template| template.name == "default") else {
            let mut names: Vec<_> = templates.iter().map(|t| t.name.as_str()).collect();
            names.sort_unstable();
            return match templates.first() {
                None => Ok(None),
                Some(first) => {
                    let reason =
                        format!("no template is named `default`, only {}", names.join(", "));
                    Err(LoadError::invalid(&first.path, NAME, reason))
                }
            };
        };
        let invalid = |e| LoadError::invalid(&default.path, NAME, e);
        let mut template = Self::new(&default.source, None, None).map_err(invalid)?;
        for (name, token) in SpecialTokens::from_dir(dir)?.texts {
            template = template.with_variable(&name, token);
        }
        Ok(Some(template))
    }

    /// Reads the template in the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the key that is wrong or the template that does not parse.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, LoadError> {
        let key = "tokenizer.chat_template";
        let Some(source) = file.string(key)? else {
            return Ok(None);
        };
        let tokens = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let invalid = |e| LoadError::invalid(file.path(), key, e);
        let mut template = Self::new(source, None, None).map_err(invalid)?;
        for (name, key) in [
            ("bos_token", "tokenizer.ggml.bos_token_id"),
            ("eos_token", "tokenizer.ggml.eos_token_id"),
            ("unk_token", "tokenizer.ggml.unknown_token_id"),
            ("pad_token", "tokenizer.ggml.padding_token_id"),
        ] {
            let id = file.unsigned(key)?.and_then(|id| usize::try_from(id).ok());
            if let Some(token) = id.and_then(|id| tokens.get(id)) {
                template = template.with_variable(name, token.as_str());
            }
        }
        Ok(Some(template))
    }
}

/// A template that a model brings.
struct Named {
    name: String,
    source: String,
    path: PathBuf,
}

/// The templates in files of their own.
fn jinja_files(dir: &Path) -> Result<Vec<Named>, LoadError> {
    let mut paths = Vec::new();
    let additional = dir.join("additional_chat_templates");
    if additional.is_dir() {
        for entry in fs::read_dir(&additional).map_err(|e| LoadError::io(&additional, e))? {
            let path = entry.map_err(|e| LoadError::io(&additional, e))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "jinja")) {
                paths.push((name.to_owned(), path));
            }
        }
    }
    let own = dir.join("chat_template.jinja");
    if own.is_file() {
        paths.push(("default".to_owned(), own));
    }
    paths
        .into_iter()
        .map(|(name, path)| {
            let source = fs::read_to_string(&path).map_err(|e| LoadError::io(&path, e))?;
            Ok(Named { name, source, path })
        })
        .collect()
}

/// The templates in `tokenizer_config.json`.
fn in_config(dir: &Path) -> Result<Vec<Named>, LoadError> {
    let path = dir.join("tokenizer_config.json");
    let config = read_json_if_there(&path)?.unwrap_or(Json::Null);
    let invalid = |reason: String| LoadError::invalid(&path, NAME, reason);
    let named = |name: &str, source: &str| Named {
        name: name.to_owned(),
        source: source.to_owned(),
        path: path.clone(),
    };
    match config.get(NAME) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(source)) => Ok(vec![named("default", source)]),
        Some(Json::Array(list)) => list
            .iter()
            .map(|entry| {
                let text = |key: &str| entry.get(key).and_then(Json::as_str);
                let template = text("name").zip(text("template"));
                template
                    .map(|(name, source)| named(name, source))
                    .ok_or_else(|| invalid("expected a list of names with templates".into()))
            })
            .collect(),
        Some(other) => Err(invalid(format!("expected a text or a list, got {other}"))),
    }
}
