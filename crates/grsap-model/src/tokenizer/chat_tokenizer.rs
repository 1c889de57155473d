use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use tokenizers::Tokenizer;
use tokenizers::processors::PostProcessorWrapper;

use super::json::read_tokenizer;
use crate::gguf::GgufFile;
use crate::gguf_tokenizer::{adds_bos, gguf_tokenizer, token_id};
use crate::load_error::{LoadError, read_json_if_there};
use crate::special_tokens::SpecialTokens;
use crate::stream_decoder::{DecodeSource, StreamDecoder};

/// Tokens that end a turn in well-known chat formats. A model that has one of them as a special
/// token stops at it, also where its files only name another end.
const END_OF_TURN: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

/// Text to tokens and back, for a chat model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChatTokenizer {
    pub(super) tokenizer: Arc<Tokenizer>,
    decode: Arc<DecodeSource>,
    bos: Option<(u32, String)>,
    eos_token: Option<String>,
    pad_id: Option<u32>,
    eos_ids: Arc<[u32]>,
    add_bos: bool,
}

/// A text could not be encoded or tokens not decoded.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {reason}")]
pub struct TokenizerError {
    /// What was tried.
    pub action: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// What the files beside a vocabulary say about special tokens.
struct Specials {
    bos: Option<(u32, String)>,
    eos_token: Option<String>,
    pad_id: Option<u32>,
    eos_ids: BTreeSet<u32>,
    add_bos: bool,
}

impl ChatTokenizer {
    /// Reads `tokenizer.json` and, where they are, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json` and `config.json` of a Hugging Face model.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and the field.
    pub fn from_dir(dir: &Path) -> Result<Self, LoadError> {
        let path = dir.join("tokenizer.json");
        let tokenizer = read_tokenizer(&path)?;
        let config_path = dir.join("tokenizer_config.json");
        let config = read_json_if_there(&config_path)?.unwrap_or(Json::Null);

        let tokens = SpecialTokens::from_dir(dir)?;
        let special = |name: &str| -> Result<Option<(u32, String)>, LoadError> {
            let Some(token) = tokens.texts.get(name) else {
                return Ok(None);
            };
            match tokenizer.token_to_id(token) {
                Some(id) => Ok(Some((id, token.to_owned()))),
                None => {
                    let reason = format!("`{token}` is not in the vocabulary");
                    Err(LoadError::invalid(tokens.path(name), name, reason))
                }
            }
        };
        let bos = special("bos_token")?;
        let eos = special("eos_token")?;
        let mut eos_ids: BTreeSet<u32> = eos.iter().map(|(id, _)| *id).collect();
        // As in transformers, the generation config has the last word over the model config.
        for name in ["generation_config.json", "config.json"] {
            let path = dir.join(name);
            let ids = match read_json_if_there(&path)? {
                Some(json) => eos_token_ids(&path, &json)?,
                None => Vec::new(),
            };
            eos_ids.extend(&ids);
            if !ids.is_empty() {
                break;
            }
        }
        let puts_bos = || {
            let ids = tokenizer.encode("", true).map(|e| e.get_ids().to_vec());
            let first = ids.ok().and_then(|ids| ids.first().copied());
            first.is_some() && first == bos.as_ref().map(|(id, _)| *id)
        };
        let add_bos = match config.get("add_bos_token").and_then(Json::as_bool) {
            Some(add_bos) => add_bos && bos.is_some(),
            None => puts_bos(),
        };
        let specials = Specials {
            pad_id: special("pad_token")?.map(|(id, _)| id),
            eos_token: eos.map(|(_, token)| token),
            bos,
            eos_ids,
            add_bos,
        };
        Self::new(&path, tokenizer, specials)
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes: byte-level BPE (`gpt2`) or
    /// sentencepiece's BPE (`llama`).
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the metadata key.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let tokenizer = gguf_tokenizer(file)?;
        let tokens = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let id = |key: &str| token_id(file, tokens.len(), key);
        let text = |id: Option<u32>| Some(tokens.get(id? as usize)?.clone());
        let (bos_id, eos_id) = (id("bos_token_id")?, id("eos_token_id")?);
        let mut eos_ids = BTreeSet::new();
        eos_ids.extend(eos_id);
        eos_ids.extend(id("eot_token_id")?);
        let specials = Specials {
            bos: bos_id.zip(text(bos_id)),
            eos_token: text(eos_id),
            pad_id: id("padding_token_id")?,
            eos_ids,
            add_bos: bos_id.is_some() && adds_bos(file)?,
        };
        Self::new(file.path(), tokenizer, specials)
    }

    fn new(path: &Path, mut tokenizer: Tokenizer, specials: Specials) -> Result<Self, LoadError> {
        // Nothing but the text decides about the tokens: no special tokens are put around it, it
        // is not cut or filled up, and offsets keep their leading spaces.
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| LoadError::invalid(path, "truncation", e))?;
        let mut eos_ids = specials.eos_ids;
        let added = tokenizer.get_added_vocabulary();
        eos_ids.extend(
            END_OF_TURN
                .iter()
                .filter(|token| added.is_special_token(token))
                .filter_map(|token| tokenizer.token_to_id(token)),
        );
        let tokenizer = Arc::new(tokenizer);
        Ok(Self {
            decode: Arc::new(DecodeSource::new(&tokenizer)),
            tokenizer,
            bos: specials.bos,
            eos_token: specials.eos_token,
            pad_id: specials.pad_id,
            eos_ids: eos_ids.into_iter().collect(),
            add_bos: specials.add_bos,
        })
    }

    /// The tokens of a text. Special tokens that the text spells out become one token each; none
    /// are added.
    ///
    /// # Errors
    ///
    /// When the vocabulary cannot express the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        Ok(encoding.map_err(encode_error)?.get_ids().to_vec())
    }

    /// The tokens of a plain text that starts a context: with the beginning-of-sequence token if
    /// this tokenizer puts one there. A text that spells it out gets no second one, so that a
    /// rendered template may be passed as a text.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text)?;
        if let Some((bos, _)) = self.bos.as_ref().filter(|_| self.add_bos)
            && ids.first() != Some(bos)
        {
            ids.insert(0, *bos);
        }
        Ok(ids)
    }

    /// The tokens of a text, each with the bytes of the text that it covers. Tokens that share a
    /// character all cover the whole of it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_with_offsets(
        &self,
        text: &str,
    ) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let encoding = self.tokenizer.encode(text, false).map_err(encode_error)?;
        let ids = encoding.get_ids().iter();
        let offsets = encoding.get_offsets().iter();
        Ok(ids
            .zip(offsets)
            .map(|(id, (start, end))| (*id, *start..*end))
            .collect())
    }

    /// The text of some tokens. Ids that are no token are left out.
    ///
    /// # Errors
    ///
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        self.tokenizer
            .decode(ids, skip_special)
            .map_err(|e| TokenizerError {
                action: "decode tokens",
                reason: e.to_string(),
            })
    }

    /// Decodes token by token, without special tokens.
    pub fn stream_decoder(&self) -> StreamDecoder {
        self.decode.stream()
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The token with this id, as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The beginning-of-sequence token.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos.as_ref().map(|(id, _)| *id)
    }

    /// The text of the beginning-of-sequence token.
    pub fn bos_token(&self) -> Option<&str> {
        self.bos.as_ref().map(|(_, token)| token.as_str())
    }

    /// The text of the end-of-sequence token that templates use.
    pub fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_deref()
    }

    /// The padding token.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// Tokens that end a completion: the end of the sequence and the end of a turn. Sorted.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Whether `id` ends a completion.
    pub fn is_eos(&self, id: u32) -> bool {
        self.eos_ids.binary_search(&id).is_ok()
    }

    /// Whether a plain text starts with the beginning-of-sequence token.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// How many tokens there are, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

pub(super) fn encode_error(error: tokenizers::Error) -> TokenizerError {
    TokenizerError {
        action: "encode text",
        reason: error.to_string(),
    }
}

/// `eos_token_id`, which is one id or a list.
fn eos_token_ids(path: &Path, json: &Json) -> Result<Vec<u32>, LoadError> {
    let id = |value: &Json| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            let reason = format!("expected a token id or a list of them, got {value}");
            LoadError::invalid(path, "eos_token_id", reason)
        })
    };
    match json.get("eos_token_id") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(ids)) => ids.iter().map(id).collect(),
        Some(one) => Ok(vec![id(one)?]),
    }
}
