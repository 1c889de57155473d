use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::gguf::{GgufArray, GgufFile, GgufValue};
use crate::load_error::LoadError;

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const TYPES: &str = "tokenizer.ggml.token_type";
const PRE: &str = "tokenizer.ggml.pre";
const MODEL: &str = "tokenizer.ggml.model";

/// Token types of the format.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// How Llama 3 splits text into words.
const LLAMA_3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits (Qwen 2).
const QWEN_2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a byte-level vocabulary splits text before merging.
enum Words {
    /// GPT-2's own pattern.
    Gpt2,
    /// Each digit alone, then GPT-2's pattern.
    DigitsThenGpt2,
    Llama3,
    Qwen2,
}

/// Builds the byte-level BPE tokenizer that the metadata of a GGUF file describes.
pub(crate) fn gguf_tokenizer(file: &GgufFile) -> Result<Tokenizer, LoadError> {
    let path = file.path();
    let invalid = |key: &str, reason: &dyn std::fmt::Display| LoadError::invalid(path, key, reason);

    let model = file.require(MODEL, file.string(MODEL)?)?;
    if model != "gpt2" {
        let reason = format!("only byte-level BPE (`gpt2`) is supported, got `{model}`");
        return Err(invalid(MODEL, &reason));
    }
    let words = match file.string(PRE)? {
        None | Some("default" | "gpt-2" | "gpt2" | "olmo") => Words::Gpt2,
        Some("smollm" | "starcoder" | "refact" | "command-r") => Words::DigitsThenGpt2,
        Some("llama-bpe" | "llama3" | "llama-v3" | "dbrx" | "smaug-bpe") => Words::Llama3,
        Some("qwen2") => Words::Qwen2,
        Some(other) => return Err(invalid(PRE, &format!("unknown pre-tokenizer `{other}`"))),
    };

    let tokens = file.require(TOKENS, file.strings(TOKENS)?)?;
    let mut vocab = Vocab::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        let id = u32::try_from(id).map_err(|e| invalid(TOKENS, &e))?;
        if vocab.insert(token.clone(), id).is_some() {
            return Err(invalid(
                TOKENS,
                &format!("token {id} `{token}` appears twice"),
            ));
        }
    }
    let merges = file.require(MERGES, file.strings(MERGES)?)?;
    let merges = merges
        .iter()
        .enumerate()
        .map(|(index, merge)| {
            parse_merge(merge, &vocab).ok_or_else(|| {
                let reason = format!("merge {index} `{merge}` is not of two tokens that make one");
                invalid(MERGES, &reason)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;

    let added = added_tokens(file, tokens)?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        // Llama 3 has whole words that no merges lead to.
        .ignore_merges(matches!(words, Words::Llama3))
        .build()
        .map_err(|e| invalid(MERGES, &e))?;

    let mut tokenizer = Tokenizer::new(bpe);
    if matches!(words, Words::Qwen2) {
        tokenizer
            .with_normalizer(Some(NFC))
            .map_err(|e| invalid(PRE, &e))?;
    }
    let pre_tokenizer = pre_tokenizer(&words).map_err(|e| invalid(PRE, &e))?;
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    tokenizer
        .add_tokens(added)
        .map_err(|e| invalid(TYPES, &e))?;
    Ok(tokenizer)
}

/// Splits `a b` into two tokens. Both and their union must be in the vocabulary.
fn parse_merge(merge: &str, vocab: &Vocab) -> Option<(String, String)> {
    let (left, right) = merge.split_once(' ')?;
    let known = |token: &str| vocab.contains_key(token);
    (known(left) && known(right) && known(&format!("{left}{right}")))
        .then(|| (left.to_owned(), right.to_owned()))
}

fn pre_tokenizer(words: &Words) -> tokenizers::Result<Sequence> {
    let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, use_regex));
    let split = |pattern: &str| -> tokenizers::Result<PreTokenizerWrapper> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        Ok(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into())
    };
    Ok(Sequence::new(match words {
        Words::Gpt2 => vec![bytes(true)],
        Words::DigitsThenGpt2 => vec![Digits::new(true).into(), bytes(true)],
        Words::Llama3 => vec![split(LLAMA_3_WORDS)?, bytes(false)],
        Words::Qwen2 => vec![split(QWEN_2_WORDS)?, bytes(false)],
    }))
}

/// Control tokens are special; user-defined tokens are found in the text but are plain text.
fn added_tokens(file: &GgufFile, tokens: &[String]) -> Result<Vec<AddedToken>, LoadError> {
    let types: Vec<i64> = match file.get(TYPES) {
        None => Vec::new(),
        Some(GgufValue::Array(GgufArray::Signed(types))) => types.clone(),
        Some(GgufValue::Array(GgufArray::Unsigned(types))) => types
            .iter()
            .map(|t| i64::try_from(*t).unwrap_or(0))
            .collect(),
        Some(_) => {
            let reason = "expected an array of integers";
            return Err(LoadError::invalid(file.path(), TYPES, reason));
        }
    };
    if !types.is_empty() && types.len() != tokens.len() {
        let reason = format!("{} types for {} tokens", types.len(), tokens.len());
        return Err(LoadError::invalid(file.path(), TYPES, reason));
    }
    let mut special = HashSet::new();
    for key in ["bos_token_id", "eos_token_id", "eot_token_id"] {
        special.extend(token_id(file, tokens.len(), key)?);
    }
    let added = tokens
        .iter()
        .enumerate()
        .filter_map(|(id, token)| {
            let kind = types.get(id).copied().unwrap_or(1);
            let is_special = kind == CONTROL || special.contains(&(id as u32));
            (is_special || kind == USER_DEFINED)
                .then(|| AddedToken::from(token.clone(), is_special).normalized(false))
        })
        .collect();
    Ok(added)
}

/// The token id under `tokenizer.ggml.{key}`.
pub(crate) fn token_id(
    file: &GgufFile,
    num_tokens: usize,
    key: &str,
) -> Result<Option<u32>, LoadError> {
    let key = format!("tokenizer.ggml.{key}");
    let Some(id) = file.unsigned(&key)? else {
        return Ok(None);
    };
    match u32::try_from(id) {
        Ok(small) if (small as usize) < num_tokens => Ok(Some(small)),
        _ => {
            let reason = format!("token {id} is not one of {num_tokens}");
            Err(LoadError::invalid(file.path(), key, reason))
        }
    }
}
