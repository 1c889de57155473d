use std::path::Path;

use serde_json::Value;

use super::config::{DecoderConfig, known_architecture};
use super::rope::RopeScaling;
use crate::load_error::{LoadError, read_json};

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
