use std::path::Path;

use serde::{Deserialize, Serialize};

use super::family::{Family, HF_ARCHITECTURES};
use super::rope::{RopeConfig, RopeScaling};
use crate::load_error::{LARGEST_SIZE, LoadError, check_size};

/// What an MLP does between its linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// x / (1 + e^-x).
    Silu,
    /// x Φ(x).
    Gelu,
    /// Its approximation by tanh, `gelu_new` and `gelu_pytorch_tanh` in transformers.
    GeluTanh,
}

/// The shape of a decoder, with the names of Hugging Face's `config.json` where it has one.
///
/// What all models of an architecture share (names of tensors, places of norms) goes with
/// `architecture` and is not repeated here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// The family, for example `llama`, as `model_type` calls it.
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
    /// Added to the mean square or the variance inside the normalisations.
    pub norm_eps: f64,
    /// Rotary positions; `None` where positions are learned.
    pub rope: Option<RopeConfig>,
    /// The longest context, in tokens.
    pub max_position_embeddings: usize,
    /// The MLP's activation.
    pub hidden_act: Activation,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the projection behind attention has a bias.
    pub attention_out_bias: bool,
    /// Whether the projections of the MLP have a bias.
    pub mlp_bias: bool,
    /// Attention scores are divided by its square root; usually `head_dim`.
    pub query_pre_attn_scalar: f64,
    /// A bound on attention scores, by tanh.
    pub attn_logit_softcapping: Option<f64>,
    /// A bound on logits, by tanh.
    pub final_logit_softcapping: Option<f64>,
    /// For each layer, how many of the last tokens a token sees, itself included; `None` for all.
    /// Empty where no layer has a window.
    pub sliding_windows: Vec<Option<usize>>,
}

impl DecoderConfig {
    /// What goes with the architecture.
    pub(crate) fn family(&self, path: &Path) -> Result<&'static Family, LoadError> {
        check_architecture(path, &self.architecture, HF_ARCHITECTURES)
    }

    /// The window of a layer.
    pub fn sliding_window(&self, layer: usize) -> Option<usize> {
        self.sliding_windows.get(layer).copied().flatten()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`] names `path` and the first field that is wrong.
    pub fn validate(&self, path: &Path) -> Result<(), LoadError> {
        let error = |field: &str, reason: String| Err(LoadError::invalid(path, field, reason));
        self.family(path)?;
        self.check_sizes(path)?;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        for (field, x) in [
            ("norm_eps", Some(self.norm_eps)),
            ("query_pre_attn_scalar", Some(self.query_pre_attn_scalar)),
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("final_logit_softcapping", self.final_logit_softcapping),
            ("rope_theta", self.rope.as_ref().map(|rope| rope.theta)),
        ] {
            if let Some(x) = x.filter(|x| !positive(*x)) {
                return error(field, format!("must be above 0, got {x}"));
            }
        }
        let windows = &self.sliding_windows;
        if !windows.is_empty() && windows.len() != self.num_hidden_layers {
            let (len, layers) = (windows.len(), self.num_hidden_layers);
            return error("sliding_windows", format!("{len} for {layers} layers"));
        }
        if windows.contains(&Some(0)) {
            return error("sliding_window", "must be above 0, got 0".into());
        }
        let Some(rope) = &self.rope else {
            return Ok(());
        };
        if !self.head_dim.is_multiple_of(2) {
            return error("head_dim", format!("must be even, got {}", self.head_dim));
        }
        let scaling_is_good = match &rope.scaling {
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
            let reason = format!("values out of range: {:?}", rope.scaling);
            return error("rope_scaling", reason);
        }
        Ok(())
    }

    pub(super) fn check_sizes(&self, path: &Path) -> Result<(), LoadError> {
        let error = |field: &str, reason: String| Err(LoadError::invalid(path, field, reason));
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
        for (field, size) in sizes {
            let limit = match field {
                "max_position_embeddings" => usize::MAX,
                "num_hidden_layers" => 1 << 12,
                _ => LARGEST_SIZE,
            };
            check_size(path, field, size, limit)?;
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            let reason = format!("{kv_heads} does not divide num_attention_heads {heads}");
            return error("num_key_value_heads", reason);
        }
        Ok(())
    }
}

pub(super) fn check_architecture(
    path: &Path,
    architecture: &str,
    supported: &'static [&'static str],
) -> Result<&'static Family, LoadError> {
    Family::named(architecture)
        .filter(|_| supported.contains(&architecture))
        .ok_or_else(|| LoadError::UnknownArchitecture {
            path: path.to_owned(),
            architecture: architecture.to_owned(),
            supported,
        })
}
