use std::path::Path;

use serde_json::{Map, Value, json};

use super::SaveError;
use crate::decoder_config::{
    Activation, AttentionBias, DecoderConfig, Family, RopeScaling, WindowRule,
};

impl DecoderConfig {
    /// The `config.json` of this model, which [`DecoderConfig::from_hf_file`] and transformers read.
    pub(super) fn to_hf_json(&self) -> Result<Map<String, Value>, SaveError> {
        let unsupported = |field, reason: String| SaveError::Unsupported { field, reason };
        let family = self
            .family(Path::new("config.json"))
            .map_err(|error| unsupported("model_type", error.to_string()))?;
        let mut json = Map::new();
        let mut put = |name: &str, value: Value| {
            let alias = family.aliases.iter().find(|(ours, _)| *ours == name);
            let name = alias.map_or(name, |(_, theirs)| theirs);
            json.insert(name.to_owned(), value);
        };
        put("architectures", json!([family.class]));
        put("model_type", json!(family.name));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put(
            "max_position_embeddings",
            json!(self.max_position_embeddings),
        );
        put("rms_norm_eps", json!(self.norm_eps));
        put("hidden_act", json!(activation(self.hidden_act)));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        // GPT-2 has neither: as many heads as queries, as wide as fits.
        if family.tensors.positions.is_none() {
            put("num_key_value_heads", json!(self.num_key_value_heads));
            put("head_dim", json!(self.head_dim));
        }
        if family.attention_bias == AttentionBias::Field {
            if self.qkv_bias != self.attention_out_bias {
                let reason = "there is one for all four projections or for none".into();
                return Err(unsupported("attention_bias", reason));
            }
            put("attention_bias", json!(self.qkv_bias));
        }
        if family.mlp_bias.is_none() {
            put("mlp_bias", json!(self.mlp_bias));
        }
        let defaults = family.defaults;
        if defaults.query_pre_attn_scalar.is_some() {
            put("query_pre_attn_scalar", number(self.query_pre_attn_scalar));
        }
        if defaults.attn_logit_softcapping.is_some() {
            put("attn_logit_softcapping", json!(self.attn_logit_softcapping));
        }
        if defaults.final_logit_softcapping.is_some() {
            put(
                "final_logit_softcapping",
                json!(self.final_logit_softcapping),
            );
        }
        if let Some(rope) = &self.rope {
            put("rope_theta", json!(rope.theta));
            put("rope_scaling", rope_scaling(rope.scaling.as_ref())?);
        }
        self.put_windows(family, put)?;
        Ok(json)
    }

    fn put_windows(
        &self,
        family: &Family,
        mut put: impl FnMut(&str, Value),
    ) -> Result<(), SaveError> {
        let windows = &self.sliding_windows;
        let mut sizes = windows.iter().flatten();
        let window = sizes.next();
        let unsupported = |reason| SaveError::Unsupported {
            field: "sliding_window",
            reason,
        };
        if sizes.any(|other| Some(other) != window) {
            let reason = format!("layers have different windows: {windows:?}");
            return Err(unsupported(reason));
        }
        let layer_types = || -> Vec<&str> {
            let kind = |layer| match self.sliding_window(layer) {
                Some(_) => "sliding_attention",
                None => "full_attention",
            };
            (0..self.num_hidden_layers).map(kind).collect()
        };
        match family.windows {
            WindowRule::Never if window.is_some() => {
                let reason = format!("{} has no windows there", family.name);
                return Err(unsupported(reason));
            }
            WindowRule::All if windows.iter().any(|other| Some(other) != windows.first()) => {
                let reason = format!("not all layers have a window: {windows:?}");
                return Err(unsupported(reason));
            }
            WindowRule::Never => {}
            WindowRule::All => put("sliding_window", json!(window)),
            WindowRule::Last => {
                put("use_sliding_window", json!(window.is_some()));
                put("sliding_window", json!(window));
                put("layer_types", json!(layer_types()));
            }
            WindowRule::Alternating => {
                put("sliding_window", json!(window));
                put("layer_types", json!(layer_types()));
            }
        }
        Ok(())
    }
}

/// transformers wants whole numbers without a point here.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    }
}

fn rope_scaling(scaling: Option<&RopeScaling>) -> Result<Value, SaveError> {
    Ok(match scaling {
        None => Value::Null,
        Some(RopeScaling::Linear { factor }) => json!({"rope_type": "linear", "factor": factor}),
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        Some(RopeScaling::Factors(_)) => {
            return Err(SaveError::Unsupported {
                field: "rope_scaling",
                reason: "a factor for each frequency, as in this GGUF file, has no form there"
                    .into(),
            });
        }
    })
}
