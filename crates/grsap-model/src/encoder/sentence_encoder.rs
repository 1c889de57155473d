use std::path::Path;

use burn::tensor::Device;
use grsap_core::{Embedder, ModelError};
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

use super::bert::{Bert, BertConfig};
use crate::batches::by_length;
use crate::load_error::{LoadError, read_json_if_there};
use crate::safetensors_file::SafetensorsFile;
use crate::tokenizer::read_tokenizer;
use crate::unit_vector::push_unit;

/// Tokens that one forward pass takes in.
const BATCH_TOKENS: usize = 2048;

/// How the token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Mean,
    Cls,
}

/// A BERT sentence encoder (all-MiniLM, bge) from a sentence-transformers directory.
///
/// # Source
///
/// sentence-transformers: `config.json`, `tokenizer.json`, `model.safetensors`,
/// `1_Pooling/config.json` for the pooling, `sentence_bert_config.json` or `tokenizer_config.json`
/// for the longest input.
/// Texts are truncated to it, pooled, and scaled to unit length.
#[derive(Debug, Clone)]
pub struct SentenceEncoder {
    bert: Bert,
    tokenizer: Tokenizer,
    pooling: Pooling,
}

impl SentenceEncoder {
    /// Loads a directory.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and the field or tensor that is missing or wrong.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let config = BertConfig::read(&dir.join("config.json"))?;
        let limit = |file: &str, field: &str| -> Result<Option<usize>, LoadError> {
            let json = read_json_if_there(&dir.join(file))?;
            let length = json.and_then(|json| json.get(field)?.as_u64());
            Ok(length.and_then(|length| usize::try_from(length).ok()))
        };
        let max_length = limit("sentence_bert_config.json", "max_seq_length")?
            .or(limit("tokenizer_config.json", "model_max_length")?)
            .unwrap_or(config.max_position_embeddings)
            .min(config.max_position_embeddings);
        let path = dir.join("tokenizer.json");
        let invalid = |e: tokenizers::Error| LoadError::invalid(&path, "tokenizer", e);
        if !path.is_file() {
            let what = "tokenizer.json".into();
            return Err(LoadError::MissingFile {
                path: dir.to_owned(),
                what,
            });
        }
        let mut tokenizer = read_tokenizer(&path)?;
        let num_added = tokenizer
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(false));
        if max_length <= num_added {
            let reason =
                format!("must be above {num_added}, the tokens of every text, got {max_length}");
            return Err(LoadError::invalid(dir, "max_seq_length", reason));
        }
        let truncation = TruncationParams {
            max_length,
            ..Default::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(invalid)?;
        tokenizer.with_padding(None);
        let pooling = pooling(dir)?;
        let bert = Bert::load(&SafetensorsFile::open(dir)?, config, device)?;
        Ok(Self {
            bert,
            tokenizer,
            pooling,
        })
    }

    fn encode(&self, index: usize, text: &str) -> Result<Vec<u32>, ModelError> {
        let failed = |e| ModelError::backend(format!("input {index}: the tokenizer failed"), e);
        let ids = self
            .tokenizer
            .encode(text, true)
            .map_err(failed)?
            .get_ids()
            .to_vec();
        let vocab = self.bert.config.vocab_size;
        if ids.is_empty() || ids.iter().any(|&id| id as usize >= vocab) {
            let reason = format!(
                "{} tokens, some outside the vocabulary of {vocab}",
                ids.len()
            );
            return Err(ModelError::InvalidInput { index, reason });
        }
        Ok(ids)
    }

    /// Unit vectors of some sequences, one after another.
    fn embed_batch(&self, sequences: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let dim = self.bert.config.hidden_size;
        let states = self
            .bert
            .forward(sequences)
            .map_err(|e| ModelError::backend("the forward pass failed", e))?
            .try_into_vec_as::<f32>()
            .map_err(|e| ModelError::backend("reading the states failed", e))?;
        let mut rows = states.chunks_exact(dim);
        let mut out = Vec::with_capacity(sequences.len() * dim);
        for sequence in sequences {
            let mut pooled = vec![0.0f64; dim];
            for (at, row) in rows.by_ref().take(sequence.len()).enumerate() {
                if self.pooling == Pooling::Mean || at == 0 {
                    for (sum, x) in pooled.iter_mut().zip(row) {
                        *sum += f64::from(*x);
                    }
                }
            }
            // The mean's divisor vanishes in the scaling.
            push_unit(&pooled, &mut out);
        }
        Ok(out)
    }
}

fn pooling(dir: &Path) -> Result<Pooling, LoadError> {
    let path = dir.join("1_Pooling").join("config.json");
    let Some(json) = read_json_if_there(&path)? else {
        return Ok(Pooling::Mean);
    };
    // Before sentence-transformers 6 there was a flag for each mode.
    let modes: Vec<String> = match json.get("pooling_mode") {
        Some(serde_json::Value::String(mode)) => vec![mode.clone()],
        Some(other) => vec![other.to_string()],
        None => json
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, on)| name.starts_with("pooling_mode_") && **on == true)
            .map(|(name, _)| name.clone())
            .collect(),
    };
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mean" | "pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "pooling_mode_cls_token"] => Ok(Pooling::Cls),
        _ => {
            let reason = format!("must be mean or cls, one of them, got {}", modes.join(", "));
            Err(LoadError::invalid(&path, "pooling_mode", reason))
        }
    }
}

impl Embedder for SentenceEncoder {
    fn dim(&self) -> usize {
        self.bert.config.hidden_size
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let mut sequences = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            sequences.push(self.encode(index, text)?);
        }
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut out = vec![0.0; texts.len() * self.dim()];
        for batch in by_length(&lengths, BATCH_TOKENS) {
            let chunk = batch.iter().filter_map(|&index| sequences.get(index));
            let chunk: Vec<&[u32]> = chunk.map(Vec::as_slice).collect();
            let vectors = self.embed_batch(&chunk)?;
            for (index, vector) in batch.into_iter().zip(vectors.chunks_exact(self.dim())) {
                if vector.iter().any(|x| !x.is_finite()) {
                    let what = "hidden state";
                    return Err(ModelError::NonFinite { index, what });
                }
                if let Some(to) = out.chunks_exact_mut(self.dim()).nth(index) {
                    to.copy_from_slice(vector);
                }
            }
        }
        Ok(out)
    }
}
