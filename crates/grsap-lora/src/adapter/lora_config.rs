use grsap_model::{Decoder, Projection};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::AdapterError;

/// Which projections get an adapter, and of what kind. The fields are PEFT's.
///
/// # Examples
///
/// ```
/// use grsap_lora::{LoraConfig, TargetModules};
///
/// let config = LoraConfig {
///     target_modules: TargetModules::Names(vec!["q_proj".into(), "v_proj".into()]),
///     ..LoraConfig::default()
/// };
/// assert_eq!(config.scale(), 2.0);
/// ```
///
/// # Source
///
/// Defaults of the method's LoRA runs: r 16, alpha 32, dropout 0.05, all linear layers, no bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// The product is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Probability that an input of an adapter is dropped while training.
    pub lora_dropout: f64,
    /// The projections.
    pub target_modules: TargetModules,
    /// Only these layers; `None` for all. A module that `target_modules` names in full is taken in any
    /// case, as in PEFT.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Multiply by `lora_alpha / sqrt(r)` instead.
    pub use_rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: TargetModules::AllLinear,
            layers_to_transform: None,
            use_rslora: false,
        }
    }
}

/// Projections by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TargetModules {
    /// Every linear layer but the output head; `"all-linear"` in files.
    #[default]
    AllLinear,
    /// Those whose name is one of these or ends with a dot and one of these, as in PEFT:
    /// `q_proj`, `self_attn.q_proj`, `model.layers.0.self_attn.q_proj`.
    Names(Vec<String>),
}

const ALL_LINEAR: &str = "all-linear";

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        match Either::deserialize(deserializer)? {
            Either::Many(names) => Ok(Self::Names(names)),
            Either::One(name) if name == ALL_LINEAR => Ok(Self::AllLinear),
            Either::One(name) => Err(serde::de::Error::custom(format!(
                "`{name}` is neither \"{ALL_LINEAR}\" nor a list of names (regular expressions are \
                 not supported)"
            ))),
        }
    }
}

impl LoraConfig {
    /// What the product of the factors is multiplied by.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Checks the ranges of the fields.
    ///
    /// # Errors
    ///
    /// [`AdapterError::Config`] names the field.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let invalid = |field, reason: String| Err(AdapterError::Config { field, reason });
        if self.r == 0 {
            return invalid("r", "must be at least 1, got 0".into());
        }
        if !self.lora_alpha.is_finite() || self.lora_alpha <= 0.0 {
            let reason = format!("must be positive, got {}", self.lora_alpha);
            return invalid("lora_alpha", reason);
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let reason = format!("must be in [0, 1), got {}", self.lora_dropout);
            return invalid("lora_dropout", reason);
        }
        if self.target_modules == TargetModules::Names(Vec::new()) {
            return invalid("target_modules", "names no module".into());
        }
        if self.layers_to_transform.as_ref().is_some_and(Vec::is_empty) {
            return invalid("layers_to_transform", "names no layer".into());
        }
        Ok(())
    }

    /// The names of the decoder's projections that this configuration selects, in order.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate), and [`AdapterError::UnknownModules`] or
    /// [`AdapterError::UnknownLayers`] where a name or a layer matches nothing.
    pub fn select(&self, decoder: &Decoder) -> Result<Vec<String>, AdapterError> {
        self.validate()?;
        self.check_names(decoder)?;
        let selected: Vec<String> = decoder
            .projections()
            .map(|(name, _)| name)
            .filter(|name| self.selects(name))
            .collect();
        if selected.is_empty() {
            return Err(AdapterError::Config {
                field: "layers_to_transform",
                reason: "no projection is in these layers and in target_modules".into(),
            });
        }
        Ok(selected)
    }

    fn selects(&self, name: &str) -> bool {
        let named = match &self.target_modules {
            TargetModules::AllLinear => true,
            // A whole name is meant wherever it is, as in PEFT.
            TargetModules::Names(names) if names.iter().any(|target| name == target) => {
                return true;
            }
            TargetModules::Names(names) => names.iter().any(|target| matches(name, target)),
        };
        let in_layer = match &self.layers_to_transform {
            None => true,
            Some(layers) => layer_of(name).is_some_and(|layer| layers.contains(&layer)),
        };
        named && in_layer
    }

    fn check_names(&self, decoder: &Decoder) -> Result<(), AdapterError> {
        let names: Vec<String> = decoder.projections().map(|(name, _)| name).collect();
        if let TargetModules::Names(targets) = &self.target_modules {
            let unknown: Vec<String> = targets
                .iter()
                .filter(|target| !names.iter().any(|name| matches(name, target)))
                .cloned()
                .collect();
            if !unknown.is_empty() {
                return Err(AdapterError::UnknownModules {
                    unknown,
                    available: short_names(decoder.projections()),
                });
            }
        }
        let num_layers = decoder.config().num_hidden_layers;
        let layers = self.layers_to_transform.iter().flatten().copied();
        let unknown: Vec<usize> = layers.filter(|&layer| layer >= num_layers).collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(AdapterError::UnknownLayers {
                unknown,
                num_layers,
            })
        }
    }
}

fn matches(name: &str, target: &str) -> bool {
    name.strip_suffix(target)
        .is_some_and(|front| !target.is_empty() && (front.is_empty() || front.ends_with('.')))
}

fn layer_of(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// The last parts of all names, each once, in order.
pub(super) fn short_names<'a>(
    projections: impl Iterator<Item = (String, &'a Projection)>,
) -> Vec<String> {
    let mut names = Vec::new();
    for (name, _) in projections {
        let short = name.rsplit('.').next().unwrap_or_default().to_owned();
        if !names.contains(&short) {
            names.push(short);
        }
    }
    names
}
