//! Tokenizers from the metadata of GGUF files.

mod byte_level;
mod sentencepiece;
mod vocabulary;
mod words;

use tokenizers::Tokenizer;

use crate::gguf::GgufFile;
use crate::load_error::LoadError;
pub(crate) use vocabulary::token_id;
use vocabulary::{MODEL, PRE, Vocabulary};
use words::Words;

/// The tokenizer that the metadata of a GGUF file describes.
pub(crate) fn gguf_tokenizer(file: &GgufFile) -> Result<Tokenizer, LoadError> {
    match file.require(MODEL, file.string(MODEL)?)? {
        "gpt2" => byte_level::tokenizer(&Vocabulary::read(file)?, words(file)?),
        "llama" => sentencepiece::tokenizer(&Vocabulary::read(file)?),
        other => {
            let reason = format!(
                "only byte-level BPE (`gpt2`) and sentencepiece (`llama`) are supported, got `{other}`"
            );
            Err(LoadError::invalid(file.path(), MODEL, reason))
        }
    }
}

/// Whether a plain text starts with the beginning-of-sequence token.
///
/// # Source
///
/// Where the file is silent, llama.cpp's defaults.
pub(crate) fn adds_bos(file: &GgufFile) -> Result<bool, LoadError> {
    if let Some(adds) = file.boolean("tokenizer.ggml.add_bos_token")? {
        return Ok(adds);
    }
    match file.string(MODEL)? {
        Some("llama") => Ok(true),
        _ => Ok(words(file)?.adds_bos),
    }
}

fn words(file: &GgufFile) -> Result<&'static Words, LoadError> {
    let name = file.string(PRE)?;
    Words::named(name).ok_or_else(|| {
        let reason = format!("unknown pre-tokenizer `{}`", name.unwrap_or_default());
        LoadError::invalid(file.path(), PRE, reason)
    })
}
