use std::path::Path;

use serde_json::{Value, json};

use super::config::{Activation, DecoderConfig, check_architecture};
use super::family::{AttentionBias, Family, HF_ARCHITECTURES, WindowRule};
use super::rope::{RopeConfig, RopeScaling};
use crate::load_error::{LoadError, read_json};

/// Fields that change what a model computes in ways that are not supported, with the value that
/// they may have beside null.
fn must_be() -> [(&'static str, Value); 10] {
    [
        ("add_cross_attention", json!(false)),
        ("clip_qkv", json!(null)),
        ("is_encoder_decoder", json!(false)),
        ("partial_rotary_factor", json!(1.0)),
        ("quantization_config", json!(null)),
        ("rope_interleaved", json!(false)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("scale_attn_weights", json!(true)),
        ("use_bidirectional_attention", json!(false)),
        ("use_qk_norm", json!(false)),
    ]
}

/// Typed access to the fields of a `config.json`.
struct Fields<'a> {
    path: &'a Path,
    prefix: &'a str,
    object: &'a Value,
    aliases: &'a [(&'a str, &'a str)],
}

impl Fields<'_> {
    /// The name that the family gives a field.
    fn name<'n>(&'n self, name: &'n str) -> &'n str {
        let alias = self.aliases.iter().find(|(ours, _)| *ours == name);
        alias.map_or(name, |(_, theirs)| theirs)
    }

    /// Whether the field is there, null or not.
    fn has(&self, name: &str) -> bool {
        self.object.get(self.name(name)).is_some()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.object
            .get(self.name(name))
            .filter(|value| !value.is_null())
    }

    fn error(&self, name: &str, reason: impl std::fmt::Display) -> LoadError {
        LoadError::invalid(
            self.path,
            format!("{}{}", self.prefix, self.name(name)),
            reason,
        )
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

    /// A field that may be null, which is not the same as missing.
    fn or_default<T>(&self, name: &str, value: Option<T>, default: Option<T>) -> Option<T> {
        if self.has(name) { value } else { default }
    }

    /// A field that is not one of the family's: it must not say otherwise.
    fn fixed(&self, name: &str, fixed: bool) -> Result<bool, LoadError> {
        match self.boolean(name)? {
            Some(value) if value != fixed => {
                Err(self.error(name, format!("{value} is not supported")))
            }
            _ => Ok(fixed),
        }
    }
}

impl DecoderConfig {
    /// Reads the `config.json` of a Hugging Face model.
    ///
    /// # Errors
    ///
    /// [`LoadError::UnknownArchitecture`], or the field that is missing, wrong or not supported.
    pub fn from_hf_file(path: &Path) -> Result<Self, LoadError> {
        let json = read_json(path)?;
        let fields = Fields {
            path,
            prefix: "",
            object: &json,
            aliases: &[],
        };
        let architecture = fields.require("model_type", fields.text("model_type")?)?;
        let family = check_architecture(path, &architecture, HF_ARCHITECTURES)?;
        let fields = Fields {
            aliases: family.aliases,
            ..fields
        };
        for (name, allowed) in must_be() {
            let is_allowed = |value: &Value| match (value.as_f64(), allowed.as_f64()) {
                (Some(value), Some(allowed)) => value == allowed,
                _ => *value == allowed,
            };
            if let Some(value) = fields.get(name).filter(|value| !is_allowed(value)) {
                return Err(fields.error(name, format!("{value} is not supported")));
            }
        }
        let defaults = family.defaults;
        let hidden_size = fields.required_size("hidden_size")?;
        let num_attention_heads = fields.required_size("num_attention_heads")?;
        let head_dim = head_dim(&fields, family, hidden_size, num_attention_heads)?;
        let kv_heads = fields.size("num_key_value_heads")?;
        let kv_heads = fields.or_default(
            "num_key_value_heads",
            kv_heads,
            defaults.num_key_value_heads,
        );
        let (qkv_bias, attention_out_bias) = attention_biases(&fields, family)?;
        let cap = |name: &str, default: Option<f64>| match (default, fields.number(name)?) {
            (None, Some(cap)) => Err(fields.error(name, format!("{cap} is not supported"))),
            (default, cap) => Ok(fields.or_default(name, cap, default)),
        };
        let mut config = Self {
            vocab_size: fields.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: match fields.size("intermediate_size")? {
                // GPT-2 leaves it out.
                None if family.fan_in_fan_out => hidden_size.saturating_mul(4),
                size => fields.require("intermediate_size", size)?,
            },
            num_hidden_layers: fields.required_size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: kv_heads.unwrap_or(num_attention_heads),
            head_dim,
            norm_eps: fields.number("rms_norm_eps")?.unwrap_or(defaults.norm_eps),
            rope: rope(&fields, family)?,
            max_position_embeddings: fields
                .size("max_position_embeddings")?
                .unwrap_or(defaults.max_position_embeddings),
            hidden_act: activation(&fields, defaults.hidden_act)?,
            tie_word_embeddings: fields
                .boolean("tie_word_embeddings")?
                .unwrap_or(defaults.tie_word_embeddings),
            qkv_bias,
            attention_out_bias,
            mlp_bias: match family.mlp_bias {
                Some(fixed) => fields.fixed("mlp_bias", fixed)?,
                None => fields.boolean("mlp_bias")?.unwrap_or(false),
            },
            query_pre_attn_scalar: cap("query_pre_attn_scalar", defaults.query_pre_attn_scalar)?
                .unwrap_or(head_dim as f64),
            attn_logit_softcapping: cap("attn_logit_softcapping", defaults.attn_logit_softcapping)?,
            final_logit_softcapping: cap(
                "final_logit_softcapping",
                defaults.final_logit_softcapping,
            )?,
            sliding_windows: Vec::new(),
            architecture,
        };
        config.check_sizes(path)?;
        config.sliding_windows = windows(&fields, family, config.num_hidden_layers)?;
        config.validate(path)?;
        Ok(config)
    }
}

fn head_dim(
    fields: &Fields<'_>,
    family: &Family,
    hidden_size: usize,
    num_heads: usize,
) -> Result<usize, LoadError> {
    let head_dim = fields.size("head_dim")?;
    match fields.or_default("head_dim", head_dim, family.defaults.head_dim) {
        Some(head_dim) => Ok(head_dim),
        None if num_heads > 0 && hidden_size.is_multiple_of(num_heads) => {
            Ok(hidden_size / num_heads)
        }
        None => {
            let name = fields.name("hidden_size");
            let reason = format!("{num_heads} does not divide {name} {hidden_size}");
            Err(fields.error("num_attention_heads", reason))
        }
    }
}

/// Whether query, key and value have a bias, and whether the projection behind attention has one.
fn attention_biases(fields: &Fields<'_>, family: &Family) -> Result<(bool, bool), LoadError> {
    let name = "attention_bias";
    Ok(match family.attention_bias {
        AttentionBias::Field => {
            let bias = fields.boolean(name)?.unwrap_or(false);
            (bias, bias)
        }
        AttentionBias::Never => (fields.fixed(name, false)?, false),
        AttentionBias::Qkv => (fields.fixed(name, true)?, false),
        AttentionBias::All => (fields.fixed(name, true)?, true),
    })
}

fn activation(fields: &Fields<'_>, default: Activation) -> Result<Activation, LoadError> {
    match fields.text("hidden_act")?.as_deref() {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            let reason = format!("expected silu, gelu, gelu_new or gelu_pytorch_tanh, got {other}");
            Err(fields.error("hidden_act", reason))
        }
    }
}

/// The window of each layer; empty where none has one.
fn windows(
    fields: &Fields<'_>,
    family: &Family,
    num_layers: usize,
) -> Result<Vec<Option<usize>>, LoadError> {
    let default = Some(family.defaults.sliding_window);
    let window = fields.size("sliding_window")?;
    let use_windows = fields.boolean("use_sliding_window")?;
    let window = match family.windows {
        WindowRule::Never => match window {
            Some(window) => {
                return Err(fields.error("sliding_window", format!("{window} is not supported")));
            }
            None => None,
        },
        WindowRule::Last if use_windows != Some(true) => None,
        WindowRule::All | WindowRule::Last | WindowRule::Alternating => {
            fields.or_default("sliding_window", window, default)
        }
    };
    let slides: Vec<bool> = match fields.get("layer_types") {
        Some(types) => {
            let slides = layer_types(fields, types, num_layers)?;
            // All layers of these families are of one kind.
            let expected = match family.windows {
                WindowRule::Never => Some(false),
                WindowRule::All => Some(window.is_some()),
                WindowRule::Last | WindowRule::Alternating => None,
            };
            if expected.is_some_and(|expected| slides.contains(&!expected)) {
                return Err(fields.error("layer_types", format!("{types} is not supported")));
            }
            slides
        }
        None => {
            let first = fields.size("max_window_layers")?.unwrap_or(28);
            let slides = |layer: usize| match family.windows {
                WindowRule::Never => false,
                WindowRule::All => true,
                WindowRule::Last => layer >= first,
                WindowRule::Alternating => layer.is_multiple_of(2),
            };
            (0..num_layers).map(slides).collect()
        }
    };
    // Without a window the kinds of layers are the same.
    Ok(match window {
        Some(_) if slides.contains(&true) => slides
            .into_iter()
            .map(|slides| window.filter(|_| slides))
            .collect(),
        _ => Vec::new(),
    })
}

/// For each layer whether its attention is `sliding_attention`.
fn layer_types(
    fields: &Fields<'_>,
    types: &Value,
    num_layers: usize,
) -> Result<Vec<bool>, LoadError> {
    let name = "layer_types";
    let types = types
        .as_array()
        .ok_or_else(|| fields.error(name, format!("expected a list, got {types}")))?;
    if types.len() != num_layers {
        let reason = format!("{} for {num_layers} layers", types.len());
        return Err(fields.error(name, reason));
    }
    types
        .iter()
        .map(|kind| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(fields.error(name, format!("{kind} is not supported"))),
        })
        .collect()
}

/// The base and the scaling of the rotary embedding. Since transformers 5 both are in
/// `rope_parameters`; before, they were `rope_theta` and `rope_scaling`.
fn rope(fields: &Fields<'_>, family: &Family) -> Result<Option<RopeConfig>, LoadError> {
    let (name, prefix) = match fields.get("rope_parameters") {
        Some(_) => ("rope_parameters", "rope_parameters."),
        None => ("rope_scaling", "rope_scaling."),
    };
    let object = fields.get(name);
    if family.tensors.positions.is_some() {
        return match object {
            Some(value) => Err(fields.error(name, format!("{value} is not supported"))),
            None => Ok(None),
        };
    }
    let default_theta = fields.number("rope_theta")?.unwrap_or(10_000.0);
    let Some(object) = object else {
        return Ok(Some(RopeConfig {
            theta: default_theta,
            scaling: None,
        }));
    };
    let rope = Fields {
        path: fields.path,
        prefix,
        object,
        aliases: &[],
    };
    // A part for each kind of layer would be an object in the object.
    let parts = object.as_object().ok_or_else(|| {
        let reason = format!("expected an object, got {object}");
        fields.error(name, reason)
    })?;
    if let Some((part, _)) = parts.iter().find(|(_, value)| value.is_object()) {
        return Err(rope.error(part, "settings for each kind of layer are not supported"));
    }
    if let Some(share) = rope
        .number("partial_rotary_factor")?
        .filter(|share| *share != 1.0)
    {
        return Err(rope.error("partial_rotary_factor", format!("{share} is not supported")));
    }
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
    Ok(Some(RopeConfig { theta, scaling }))
}
