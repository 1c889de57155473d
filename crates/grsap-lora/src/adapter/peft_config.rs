use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::AdapterError;
use super::lora_config::LoraConfig;

/// Fields of `adapter_config.json` that change what an adapter computes in ways that are not
/// supported: they must be null, false or empty.
const MUST_BE_OFF: &[&str] = &[
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Ways of initialising that leave the base weights alone.
const PLAIN_INIT: &[&str] = &["gaussian", "eva", "orthogonal"];

/// The content of `adapter_config.json`. `fan_in_fan_out` is the decoder's.
pub(super) fn to_json(
    config: &LoraConfig,
    base_model: Option<&str>,
    fan_in_fan_out: bool,
) -> Value {
    // PEFT writes whole numbers as integers.
    let alpha = config.lora_alpha;
    let lora_alpha = if alpha.fract() == 0.0 && alpha.abs() < 1e15 {
        json!(alpha as i64)
    } else {
        json!(alpha)
    };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": config.layers_to_transform,
        "lora_alpha": lora_alpha,
        "lora_bias": false,
        "lora_dropout": config.lora_dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": config.target_modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.use_rslora,
    })
}

/// The configuration in `adapter_config.json`. `fan_in_fan_out` says how the decoder's files store
/// weights: PEFT sets the field of that name where the base model asks for it, whatever the file
/// says, and the factors have the same shapes either way. Only `true` where it is wrong is an error.
pub(super) fn from_json(
    path: &Path,
    json: &Value,
    fan_in_fan_out: bool,
) -> Result<LoraConfig, AdapterError> {
    let reader = Reader { path };
    let Value::Object(fields) = json else {
        return Err(reader.error("json", "expected an object"));
    };
    reader.must_be(fields, "peft_type", "LORA")?;
    reader.must_be(fields, "bias", "none")?;
    if let Some(value) = fields.get("fan_in_fan_out")
        && !is_off(value)
        && !(fan_in_fan_out && *value == true)
    {
        let reason = format!("{value} does not fit the base model");
        return Err(reader.error("fan_in_fan_out", reason));
    }
    for &field in MUST_BE_OFF {
        if let Some(value) = fields.get(field).filter(|value| !is_off(value)) {
            return Err(reader.error(field, format!("{value} is not supported")));
        }
    }
    match fields.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::String(name)) if PLAIN_INIT.contains(&name.as_str()) => {}
        Some(other) => {
            let reason = format!("{other} changes the base weights and is not supported");
            return Err(reader.error("init_lora_weights", reason));
        }
    }
    match fields.get("layers_pattern") {
        Some(pattern)
            if !is_off(pattern) && *pattern != "layers" && *pattern != json!(["layers"]) =>
        {
            return Err(reader.error("layers_pattern", format!("{pattern} is not supported")));
        }
        _ => {}
    }
    let config = LoraConfig {
        r: reader.required(fields, "r")?,
        lora_alpha: reader.required(fields, "lora_alpha")?,
        lora_dropout: reader.optional(fields, "lora_dropout")?.unwrap_or(0.0),
        target_modules: reader.required(fields, "target_modules")?,
        layers_to_transform: match fields.get("layers_to_transform") {
            // PEFT takes one number for a list of one.
            Some(Value::Number(_)) => Some(vec![reader.required(fields, "layers_to_transform")?]),
            // And an empty list for all of them.
            Some(Value::Array(layers)) if layers.is_empty() => None,
            _ => reader.optional(fields, "layers_to_transform")?,
        },
        use_rslora: reader.optional(fields, "use_rslora")?.unwrap_or(false),
    };
    config.validate().map_err(|error| match error {
        AdapterError::Config { field, reason } => reader.error(field, reason),
        other => other,
    })?;
    Ok(config)
}

/// Null, false, or a list or an object with nothing in it.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, field: &str, reason: impl Into<String>) -> AdapterError {
        AdapterError::File {
            path: self.path.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn must_be(
        &self,
        fields: &Map<String, Value>,
        field: &str,
        expected: &str,
    ) -> Result<(), AdapterError> {
        match fields.get(field) {
            Some(value) if value == expected => Ok(()),
            Some(other) => Err(self.error(field, format!("expected \"{expected}\", got {other}"))),
            None => Err(self.error(field, "is missing")),
        }
    }

    fn required<T: serde::de::DeserializeOwned>(
        &self,
        fields: &Map<String, Value>,
        field: &str,
    ) -> Result<T, AdapterError> {
        self.optional(fields, field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    fn optional<T: serde::de::DeserializeOwned>(
        &self,
        fields: &Map<String, Value>,
        field: &str,
    ) -> Result<Option<T>, AdapterError> {
        match fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|e| self.error(field, e.to_string())),
        }
    }
}
