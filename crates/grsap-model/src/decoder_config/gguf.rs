use std::path::Path;

use super::config::{DecoderConfig, check_architecture};
use super::family::{AttentionBias, Family, GGUF_ARCHITECTURES, NormKind, WindowRule};
use super::rope::{RopeConfig, RopeScaling};
use crate::gguf::GgufFile;
use crate::load_error::LoadError;

/// Keys that change what a model computes in ways that are not supported: they must be 0.
const MUST_BE_ZERO: &[&str] = &[
    "attention.clamp_kqv",
    "attention.scale",
    "embedding_scale",
    "expert_count",
    "logit_scale",
    "residual_scale",
];

/// Gemma-2 27B is told by its number of layers; its scores are scaled by the width of the stream
/// over the heads, those of the others by the width of a head. The files do not say.
const GEMMA2_27B_LAYERS: usize = 46;

/// The keys of one architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Keys<'_> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn error(&self, name: &str, reason: impl std::fmt::Display) -> LoadError {
        LoadError::invalid(self.path(), self.key(name), reason)
    }

    fn size(&self, name: &str) -> Result<Option<usize>, LoadError> {
        self.file
            .unsigned(&self.key(name))?
            .map(|value| usize::try_from(value).map_err(|e| self.error(name, e)))
            .transpose()
    }

    fn required_size(&self, name: &str) -> Result<usize, LoadError> {
        self.file.require(&self.key(name), self.size(name)?)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, LoadError> {
        self.file.float(&self.key(name))
    }

    /// Refuses a number other than 0.
    fn must_be_zero(&self, name: &str) -> Result<(), LoadError> {
        let number = match self.size(name) {
            Ok(size) => size.map(|size| size as f64),
            Err(_) => self.number(name)?,
        };
        match number {
            None | Some(0.0) => Ok(()),
            Some(number) => Err(self.error(name, format!("{number} is not supported"))),
        }
    }
}

impl DecoderConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownArchitecture`], or the key that is missing, wrong or not supported.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, LoadError> {
        let path = file.path();
        let key = "general.architecture";
        let architecture = file.require(key, file.string(key)?)?;
        let family = check_architecture(path, architecture, GGUF_ARCHITECTURES)?;
        let keys = Keys { file, architecture };
        for name in MUST_BE_ZERO {
            keys.must_be_zero(name)?;
        }

        let hidden_size = keys.required_size("embedding_length")?;
        let num_attention_heads = keys.required_size("attention.head_count")?;
        let head_dim = head_dim(&keys, hidden_size, num_attention_heads)?;
        let embedding =
            file.tensor("token_embd.weight")
                .ok_or_else(|| LoadError::MissingTensor {
                    path: path.to_owned(),
                    tensor: "token_embd.weight".to_owned(),
                })?;
        let eps = match family.norm {
            NormKind::Layer => "attention.layer_norm_epsilon",
            NormKind::Rms | NormKind::RmsLessOne => "attention.layer_norm_rms_epsilon",
        };
        let num_hidden_layers = keys.required_size("block_count")?;
        let has_bias = |part: &str| file.tensor(&format!("blk.0.{part}.bias")).is_some();
        let defaults = family.defaults;
        let softcap = |name: &str, default: Option<f64>| match default {
            Some(default) => Ok(Some(keys.number(name)?.unwrap_or(default))),
            None => keys.must_be_zero(name).map(|()| None),
        };
        let mut config = Self {
            architecture: architecture.to_owned(),
            vocab_size: embedding.shape.first().copied().unwrap_or(0),
            hidden_size,
            intermediate_size: keys.required_size("feed_forward_length")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: keys
                .size("attention.head_count_kv")?
                .unwrap_or(num_attention_heads),
            head_dim,
            norm_eps: file.require(&keys.key(eps), keys.number(eps)?)?,
            rope: rope(&keys, family)?,
            max_position_embeddings: keys.required_size("context_length")?,
            hidden_act: defaults.hidden_act,
            tie_word_embeddings: file.tensor("output.weight").is_none(),
            qkv_bias: match family.attention_bias {
                AttentionBias::Field => has_bias("attn_q"),
                AttentionBias::Never => false,
                AttentionBias::Qkv | AttentionBias::All => true,
            },
            attention_out_bias: match family.attention_bias {
                AttentionBias::Field => has_bias("attn_output"),
                AttentionBias::Never | AttentionBias::Qkv => false,
                AttentionBias::All => true,
            },
            mlp_bias: family.mlp_bias.unwrap_or_else(|| has_bias("ffn_up")),
            query_pre_attn_scalar: match defaults.query_pre_attn_scalar {
                Some(_) if num_hidden_layers == GEMMA2_27B_LAYERS => {
                    hidden_size as f64 / num_attention_heads as f64
                }
                _ => head_dim as f64,
            },
            attn_logit_softcapping: softcap(
                "attn_logit_softcapping",
                defaults.attn_logit_softcapping,
            )?,
            final_logit_softcapping: softcap(
                "final_logit_softcapping",
                defaults.final_logit_softcapping,
            )?,
            sliding_windows: Vec::new(),
        };
        config.check_sizes(path)?;
        config.sliding_windows = windows(&keys, family, num_hidden_layers)?;
        config.validate(path)?;
        Ok(config)
    }
}

fn head_dim(keys: &Keys<'_>, hidden_size: usize, num_heads: usize) -> Result<usize, LoadError> {
    let key_length = keys.size("attention.key_length")?;
    let rotary = keys.size("rope.dimension_count")?;
    let head_dim = match (key_length, rotary) {
        (Some(head_dim), _) | (None, Some(head_dim)) => head_dim,
        (None, None) if num_heads > 0 && hidden_size.is_multiple_of(num_heads) => {
            hidden_size / num_heads
        }
        (None, None) => {
            let reason = format!("{num_heads} does not divide embedding_length {hidden_size}");
            return Err(keys.error("attention.head_count", reason));
        }
    };
    for (name, length) in [
        (
            "attention.value_length",
            keys.size("attention.value_length")?,
        ),
        ("rope.dimension_count", rotary),
    ] {
        if let Some(length) = length.filter(|&length| length != head_dim) {
            let reason = format!("{length} is not supported with heads of width {head_dim}");
            return Err(keys.error(name, reason));
        }
    }
    Ok(head_dim)
}

fn rope(keys: &Keys<'_>, family: &Family) -> Result<Option<RopeConfig>, LoadError> {
    if family.tensors.positions.is_some() {
        return Ok(None);
    }
    let kind = keys.file.string(&keys.key("rope.scaling.type"))?;
    // The second is the key of files from before the first.
    let factor = match keys.number("rope.scaling.factor")? {
        None => keys.number("rope.scale_linear")?,
        factor => factor,
    };
    let scaling = match (kind, factor) {
        (Some(kind), _) if kind != "linear" && kind != "none" => {
            let reason = format!("unsupported rotary scaling `{kind}`");
            return Err(keys.error("rope.scaling.type", reason));
        }
        // As in llama.cpp, both apply where there are both.
        (kind, factor) if keys.file.tensor("rope_freqs.weight").is_some() => {
            let linear = factor.filter(|_| kind != Some("none")).unwrap_or(1.0) as f32;
            let factors = keys.file.read_f32("rope_freqs.weight")?;
            let factors = factors.into_iter().map(|factor| factor * linear);
            Some(RopeScaling::Factors(factors.collect()))
        }
        (Some("none"), _) | (_, None) => None,
        (_, Some(factor)) => Some(RopeScaling::Linear { factor }),
    };
    Ok(Some(RopeConfig {
        theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
        scaling,
    }))
}

fn windows(
    keys: &Keys<'_>,
    family: &Family,
    num_layers: usize,
) -> Result<Vec<Option<usize>>, LoadError> {
    let name = "attention.sliding_window";
    let window = keys.size(name)?.filter(|&window| window > 0);
    let pattern = keys.key("attention.sliding_window_pattern");
    if keys.file.get(&pattern).is_some() {
        let reason = "patterns of sliding windows are not supported";
        return Err(LoadError::invalid(keys.path(), pattern, reason));
    }
    match (family.windows, window) {
        (WindowRule::Alternating, window) => {
            let window = window.unwrap_or(family.defaults.sliding_window);
            let layer = |index: usize| index.is_multiple_of(2).then_some(window);
            Ok((0..num_layers).map(layer).collect())
        }
        (_, None) => Ok(Vec::new()),
        // Mistral, which goes by this name in GGUF files.
        (WindowRule::Never, Some(window)) if keys.architecture == "llama" => {
            Ok(vec![Some(window); num_layers])
        }
        (_, Some(window)) => Err(keys.error(name, format!("{window} is not supported"))),
    }
}
