use std::borrow::Cow;
use std::collections::HashSet;

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use crate::gguf::{GgufArray, GgufFile, GgufValue};
use crate::load_error::LoadError;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const PRE: &str = "tokenizer.ggml.pre";
pub(super) const MODEL: &str = "tokenizer.ggml.model";

/// Token types of the format.
pub(super) const NORMAL: i64 = 1;
pub(super) const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;

/// The tokens of a GGUF file, checked.
pub(super) struct Vocabulary<'a> {
    pub(super) file: &'a GgufFile,
    pub(super) tokens: Cow<'a, [String]>,
    /// One for each token.
    pub(super) types: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(file: &'a GgufFile) -> Result<Self, LoadError> {
        let tokens = file.require(TOKENS, file.strings(TOKENS)?)?;
        let mut types = integers(file, TYPES)?;
        if types.is_empty() {
            types = vec![NORMAL; tokens.len()];
        }
        if types.len() != tokens.len() {
            let reason = format!("{} types for {} tokens", types.len(), tokens.len());
            return Err(LoadError::invalid(file.path(), TYPES, reason));
        }
        Ok(Self {
            file,
            tokens: tokens.into(),
            types,
        })
    }

    pub(super) fn invalid(&self, key: &str, reason: impl std::fmt::Display) -> LoadError {
        LoadError::invalid(self.file.path(), key, reason)
    }

    /// Each token with its id. No two may be spelled alike.
    pub(super) fn ids(&self) -> Result<Vocab, LoadError> {
        let mut ids = Vocab::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            let number = u32::try_from(id).map_err(|e| self.invalid(TOKENS, e))?;
            if ids.insert(token.clone(), number).is_some() {
                return Err(self.invalid(TOKENS, format!("token {id} `{token}` appears twice")));
            }
        }
        Ok(ids)
    }

    /// The merges in the file, each of two tokens that make one.
    pub(super) fn merges(&self, ids: &Vocab) -> Result<Option<Vec<(String, String)>>, LoadError> {
        let Some(merges) = self.file.strings(MERGES)? else {
            return Ok(None);
        };
        let parse = |(index, merge): (usize, &String)| {
            parse_merge(merge, ids).ok_or_else(|| {
                let reason = format!("merge {index} `{merge}` is not of two tokens that make one");
                self.invalid(MERGES, reason)
            })
        };
        merges
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The tokens that are found in a text before anything else: control tokens and the unknown
    /// one are special, user-defined ones are plain text.
    pub(super) fn added(&self) -> Result<Vec<AddedToken>, LoadError> {
        let mut special = HashSet::new();
        for key in ["bos_token_id", "eos_token_id", "eot_token_id"] {
            let id = token_id(self.file, self.tokens.len(), key)?;
            special.extend(id.map(|id| id as usize));
        }
        let tokens = self.tokens.iter().zip(&self.types).enumerate();
        Ok(tokens
            .filter(|(_, (token, _))| !token.is_empty())
            .filter_map(|(id, (token, kind))| {
                let is_special = matches!(*kind, CONTROL | UNKNOWN) || special.contains(&id);
                (is_special || *kind == USER_DEFINED)
                    .then(|| AddedToken::from(token.clone(), is_special).normalized(false))
            })
            .collect())
    }
}

/// Splits `a b` into two tokens. Both and their union must be in the vocabulary.
fn parse_merge(merge: &str, ids: &Vocab) -> Option<(String, String)> {
    let (left, right) = merge.split_once(' ')?;
    let known = |token: &str| ids.contains_key(token);
    (known(left) && known(right) && known(&format!("{left}{right}")))
        .then(|| (left.to_owned(), right.to_owned()))
}

/// An array of integers; empty where the file has none.
fn integers(file: &GgufFile, key: &str) -> Result<Vec<i64>, LoadError> {
    match file.get(key) {
        None => Ok(Vec::new()),
        Some(GgufValue::Array(GgufArray::Signed(numbers))) => Ok(numbers.clone()),
        Some(GgufValue::Array(GgufArray::Unsigned(numbers))) => Ok(numbers
            .iter()
            .map(|n| i64::try_from(*n).unwrap_or(0))
            .collect()),
        Some(_) => {
            let reason = "expected an array of integers";
            Err(LoadError::invalid(file.path(), key, reason))
        }
    }
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
