use std::path::Path;

use serde_json::Value as Json;
use tokenizers::Tokenizer;

use crate::load_error::LoadError;

/// Reads a `tokenizer.json`.
pub(crate) fn read_tokenizer(path: &Path) -> Result<Tokenizer, LoadError> {
    let bytes = std::fs::read(path).map_err(|e| LoadError::io(path, e))?;
    let json: Json =
        serde_json::from_slice(&bytes).map_err(|e| LoadError::invalid(path, "json", e))?;
    check_merges(&json).map_err(|reason| LoadError::invalid(path, "model.merges", reason))?;
    if json.get("decoder").is_some_and(strips_ends) {
        let reason = "a `Strip` with `stop` above 0 is not supported";
        return Err(LoadError::invalid(path, "decoder", reason));
    }
    Tokenizer::from_bytes(bytes).map_err(|e| LoadError::invalid(path, "json", e))
}

/// Whether a decoder takes something off the ends of tokens: the `tokenizers` crate panics at an empty one.
fn strips_ends(decoder: &Json) -> bool {
    match decoder.get("type").and_then(Json::as_str) {
        Some("Strip") => decoder.get("stop").and_then(Json::as_u64) != Some(0),
        Some("Sequence") => {
            let parts = decoder.get("decoders").and_then(Json::as_array);
            parts.is_some_and(|parts| parts.iter().any(strips_ends))
        }
        _ => false,
    }
}

/// Refuses merges of tokens that do not make a token: the `tokenizers` crate panics at some.
fn check_merges(json: &Json) -> Result<(), String> {
    let model = json.get("model");
    let field = |name: &str| model.and_then(|model| model.get(name));
    let (Some(Json::Array(merges)), Some(Json::Object(vocab))) = (field("merges"), field("vocab"))
    else {
        return Ok(());
    };
    let prefix = field("continuing_subword_prefix").and_then(Json::as_str);
    let prefix_len = prefix.unwrap_or_default().len();
    let makes_token = |merge: &Json| {
        let (left, right) = match merge {
            Json::String(merge) => merge.split_once(' ')?,
            Json::Array(pair) => match pair.as_slice() {
                [left, right] => (left.as_str()?, right.as_str()?),
                _ => return None,
            },
            _ => return None,
        };
        let merged = format!("{left}{}", right.get(prefix_len..)?);
        let known = [left, right, &merged].map(|token| vocab.contains_key(token));
        (known == [true; 3]).then_some(())
    };
    // Old files start with a version line.
    let is_version = |merge: &Json| merge.as_str().is_some_and(|m| m.starts_with("#version"));
    for (index, merge) in merges.iter().enumerate() {
        if makes_token(merge).is_none() && !is_version(merge) {
            return Err(format!(
                "merge {index} {merge} is not of two tokens that make one"
            ));
        }
    }
    Ok(())
}
