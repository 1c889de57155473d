use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gguf::GgufFile;
use crate::load_error::{LoadError, read_json};

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

/// A change to the rotary frequencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RopeScaling {
    /// All frequencies are divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Long wavelengths are divided by `factor`, short ones are kept, and between them there is a
    /// smooth passage (Llama 3.1).
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above the original context over this are scaled.
        low_freq_factor: f64,
        /// Wavelengths below the original context over this are kept.
        high_freq_factor: f64,
        /// The context the model was first trained for.
        original_max_position_embeddings: usize,
    },
    /// Each frequency is divided by its own factor (GGUF's `rope_freqs.weight`).
    Factors(
        /// One for each frequency.
        Vec<f32>,
    ),
}

/// Typed access to the fields of a `config.json`.
struct Fields<'a> {
    path: &'a Path,
    prefix: &'a str,
    object: &'a Value,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn error(&self, name: &str, reason: impl std::fmt::Display) -> LoadError {
        LoadError::invalid(self.path, format!("{}{name}", self.prefix), reason)
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        self.get(name)
            .map(|value| {
                convert(value)
                    .ok_or_else(|| self.error(name, format!("expected {expected}, got {value}")))
            })
            .transpose()
    }

    fn size(&self, name: &str) -> Result<Option<usize>, LoadError> {
        self.typed(name, "a count", |v| usize::try_from(v.as_u64()?).ok())
    }

    fn number(&self, name: &str) -> Result<Option<f64>, LoadError> {
        self.typed(name, "a number", Value::as_f64)
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, LoadError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn text(&self, name: &str) -> Result<Option<String>, LoadError> {
        self.typed(name, "a text", |v| v.as_str().map(str::to_owned))
    }

    fn require<T>(&self, name: &str, value: Option<T>) -> Result<T, LoadError> {
        value.ok_or_else(|| self.error(name, "the field is missing"))
    }

    fn required_size(&self, name: &str) -> Result<usize, LoadError> {
        self.require(name, self.size(name)?)
    }
}

fn known_architecture(path: &Path, architecture: &str) -> Result<(), LoadError> {
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
    /// Reads the `config.json` of a Hugging Face model.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownArchitecture`], or the field that is missing or wrong.
    pub fn from_hf_file(path: &Path) -> Result<Self, LoadError> {
        let json = read_json(path)?;
        let fields = Fields {
            path,
            prefix: "",
            object: &json,
        };
        let architecture = fields.require("model_type", fields.text("model_type")?)?;
        known_architecture(path, &architecture)?;
        if let Some(activation) = fields.text("hidden_act")?
            && activation != "silu"
        {
            return Err(fields.error("hidden_act", format!("expected silu, got {activation}")));
        }
        if fields.boolean("mlp_bias")? == Some(true) {
            return Err(fields.error("mlp_bias", "biases in the MLP are not supported"));
        }
        let hidden_size = fields.required_size("hidden_size")?;
        let num_attention_heads = fields.required_size("num_attention_heads")?;
        let head_dim = match fields.size("head_dim")? {
            Some(head_dim) => head_dim,
            None if num_attention_heads > 0 && hidden_size.is_multiple_of(num_attention_heads) => {
                hidden_size / num_attention_heads
            }
            None => {
                let reason =
                    format!("{num_attention_heads} does not divide hidden_size {hidden_size}");
                return Err(fields.error("num_attention_heads", reason));
            }
        };
        let (rope_theta, rope_scaling) = hf_rope(&fields)?;
        let config = Self {
            architecture,
            vocab_size: fields.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size")?,
            num_hidden_layers: fields.required_size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: fields
                .size("num_key_value_heads")?
                .unwrap_or(num_attention_heads),
            head_dim,
            // The defaults are those of transformers' LlamaConfig.
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            max_position_embeddings: fields.size("max_position_embeddings")?.unwrap_or(2048),
            tie_word_embeddings: fields.boolean("tie_word_embeddings")?.unwrap_or(false),
            attention_bias: fields.boolean("attention_bias")?.unwrap_or(false),
        };
        config.validate(path)?;
        Ok(config)
    }

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

    /// The `head_dim / 2` inverse frequencies of the rotary embedding, scaling applied.
    ///
    /// # Source
    ///
    /// `transformers.modeling_rope_utils`, in single precision as there.
    pub fn inv_freq(&self) -> Vec<f32> {
        let plain = (0..self.head_dim / 2).map(|i| {
            let exponent = (2 * i) as f32 / self.head_dim as f32;
            1.0 / self.rope_theta.powf(f64::from(exponent)) as f32
        });
        match &self.rope_scaling {
            None => plain.collect(),
            Some(RopeScaling::Linear { factor }) => plain.map(|f| f / *factor as f32).collect(),
            Some(RopeScaling::Factors(factors)) => {
                plain.zip(factors).map(|(f, factor)| f / factor).collect()
            }
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => {
                let context = *original_max_position_embeddings as f32;
                let (factor, low, high) = (
                    *factor as f32,
                    *low_freq_factor as f32,
                    *high_freq_factor as f32,
                );
                plain
                    .map(|f| {
                        let wavelength = 2.0 * std::f32::consts::PI / f;
                        if wavelength > context / low {
                            f / factor
                        } else if wavelength < context / high {
                            f
                        } else {
                            let smooth = (context / wavelength - low) / (high - low);
                            (1.0 - smooth) * (f / factor) + smooth * f
                        }
                    })
                    .collect()
            }
        }
    }
}

/// The base and the scaling of the rotary embedding. Since transformers 5 both are in
/// `rope_parameters`; before, they were `rope_theta` and `rope_scaling`.
fn hf_rope(fields: &Fields<'_>) -> Result<(f64, Option<RopeScaling>), LoadError> {
    let (prefix, object) = match (fields.get("rope_parameters"), fields.get("rope_scaling")) {
        (Some(object), _) => ("rope_parameters.", Some(object)),
        (None, object) => ("rope_scaling.", object),
    };
    let default_theta = fields.number("rope_theta")?.unwrap_or(10_000.0);
    let Some(object) = object else {
        return Ok((default_theta, None));
    };
    let rope = Fields {
        path: fields.path,
        prefix,
        object,
    };
    let theta = rope.number("rope_theta")?.unwrap_or(default_theta);
    let required = |name| rope.require(name, rope.number(name)?);
    // Older files say `type`.
    let kind = match rope.text("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.text("type")?,
    };
    let scaling = match kind.as_deref() {
        None | Some("default") => None,
        Some("linear") => Some(RopeScaling::Linear {
            factor: required("factor")?,
        }),
        Some("llama3") => Some(RopeScaling::Llama3 {
            factor: required("factor")?,
            low_freq_factor: required("low_freq_factor")?,
            high_freq_factor: required("high_freq_factor")?,
            original_max_position_embeddings: rope
                .required_size("original_max_position_embeddings")?,
        }),
        Some(other) => {
            let reason = format!("unsupported rotary scaling `{other}`");
            return Err(rope.error("rope_type", reason));
        }
    };
    Ok((theta, scaling))
}
