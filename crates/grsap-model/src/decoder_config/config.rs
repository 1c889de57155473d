use std::path::Path;

use serde::{Deserialize, Serialize};

use super::rope::RopeScaling;
use crate::gguf::GgufFile;
use crate::load_error::LoadError;

/// The architectures that can be loaded, as `model_type` and `general.architecture` call them.
pub(crate) const SUPPORTED_ARCHITECTURES: &[&str] = &["llama"];

/// The shape of a Llama-like decoder, with the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// The family, for example `llama`.
    pub architecture: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Added to the mean square inside the normalisations.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for long contexts.
    pub rope_scaling: Option<RopeScaling>,
    /// The longest context, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the attention projections have a bias.
    pub attention_bias: bool,
}

pub(super) fn known_architecture(path: &Path, architecture: &str) -> Result<(), LoadError> {
    if SUPPORTED_ARCHITECTURES.contains(&architecture) {
        return Ok(());
    }
    Err(LoadError::UnknownArchitecture {
        path: path.to_owned(),
        architecture: architecture.to_owned(),
        supported: SUPPORTED_ARCHITECTURES,
    })
}

impl DecoderConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownArchitecture`], or the key that is missing or wrong.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let path = file.path();
        let key = "general.architecture";
        let architecture = file.require(key, file.string(key)?)?.to_owned();
        known_architecture(path, &architecture)?;
        let size = |name: &str| -> Result<Option<usize>, LoadError> {
            let key = format!("{architecture}.{name}");
            file.unsigned(&key)?
                .map(|value| {
                    usize::try_from(value).map_err(|e| LoadError::invalid(path, key.clone(), e))
                })
                .transpose()
        };
        let required = |name: &str| file.require(&format!("{architecture}.{name}"), size(name)?);
        let number = |name: &str| file.float(&format!("{architecture}.{name}"));

        let hidden_size = required("embedding_length")?;
        let num_attention_heads = required("attention.head_count")?;
        let head_dim = match (size("attention.key_length")?, size("rope.dimension_count")?) {
            (Some(head_dim), _) | (None, Some(head_dim)) => head_dim,
            (None, None) => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        };
        let embedding =
            file.tensor("token_embd.weight")
                .ok_or_else(|| LoadError::MissingTensor {
                    path: path.to_owned(),
                    tensor: "token_embd.weight".to_owned(),
                })?;
        let eps = "attention.layer_norm_rms_epsilon";
        let rope_scaling = match number("rope.scaling.factor")? {
            _ if file.tensor("rope_freqs.weight").is_some() => {
                Some(RopeScaling::Factors(file.read_f32("rope_freqs.weight")?))
            }
            Some(factor) => {
                let key = format!("{architecture}.rope.scaling.type");
                match file.string(&key)? {
                    None | Some("linear") => Some(RopeScaling::Linear { factor }),
                    Some("none") => None,
                    Some(other) => {
                        let reason = format!("unsupported rotary scaling `{other}`");
                        return Err(LoadError::invalid(path, key, reason));
                    }
                }
            }
            None => None,
        };
        let config = Self {
            vocab_size: embedding.shape.first().copied().unwrap_or(0),
            hidden_size,
            intermediate_size: required("feed_forward_length")?,
            num_hidden_layers: required("block_count")?,
            num_attention_heads,
            num_key_value_heads: size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: file.require(&format!("{architecture}.{eps}"), number(eps)?)?,
            rope_theta: number("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling,
            max_position_embeddings: required("context_length")?,
            tie_word_embeddings: file.tensor("output.weight").is_none(),
            attention_bias: file.tensor("blk.0.attn_q.bias").is_some(),
            architecture,
        };
        config.validate(path)?;
        Ok(config)
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`] names `path` and the first field that is wrong.
    pub fn validate(&self, path: &Path) -> Result<(), LoadError> {
        let error = |field: &str, reason: String| Err(LoadError::invalid(path, field, reason));
        known_architecture(path, &self.architecture)?;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // Far above any model, and low enough that products of three sizes cannot overflow.
        const LARGEST: usize = 1 << 21;
        for (field, size) in sizes {
            let limit = match field {
                "max_position_embeddings" => usize::MAX,
                _ => LARGEST,
            };
            if size == 0 || size > limit {
                return error(field, format!("must be 1 to {limit}, got {size}"));
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            let reason = format!("{kv_heads} does not divide num_attention_heads {heads}");
            return error("num_key_value_heads", reason);
        }
        if !self.head_dim.is_multiple_of(2) {
            return error("head_dim", format!("must be even, got {}", self.head_dim));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.rms_norm_eps) {
            let reason = format!("must be above 0, got {}", self.rms_norm_eps);
            return error("rms_norm_eps", reason);
        }
        if !positive(self.rope_theta) {
            return error(
                "rope_theta",
                format!("must be above 0, got {}", self.rope_theta),
            );
        }
        let scaling_is_good = match &self.rope_scaling {
            None => true,
            Some(RopeScaling::Linear { factor }) => positive(*factor),
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => {
                positive(*factor)
                    && positive(*low_freq_factor)
                    && high_freq_factor.is_finite()
                    && high_freq_factor > low_freq_factor
                    && *original_max_position_embeddings > 0
            }
            Some(RopeScaling::Factors(factors)) => {
                factors.len() == self.head_dim / 2
                    && factors.iter().all(|factor| positive(f64::from(*factor)))
            }
        };
        if !scaling_is_good {
            let reason = format!("values out of range: {:?}", self.rope_scaling);
            return error("rope_scaling", reason);
        }
        Ok(())
    }
}
