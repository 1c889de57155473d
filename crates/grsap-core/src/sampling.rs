use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// How to sample, as plain data. [`SamplingParams`] is the checked form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Keep the smallest set of tokens whose probabilities reach this sum, in (0, 1].
    pub top_p: f64,
    /// Keep at most this many tokens.
    pub top_k: Option<usize>,
    /// The most tokens one completion may have.
    pub max_new_tokens: usize,
    /// Completions for each prompt.
    pub n: usize,
    /// Texts that end a completion as soon as one appears in it. The text ends before it.
    pub stop: Vec<String>,
    /// Fixes every draw: the same seed, prompt and sample index give the same text, as far as the
    /// generator computes the same numbers (on the CPU this library does).
    pub seed: u64,
}

impl Default for SamplingConfig {
    /// Temperature 1, no truncation, 256 new tokens, one completion, seed 0.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 256,
            n: 1,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingConfig {
    /// Greedy decoding of up to `max_new_tokens` tokens.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            max_new_tokens,
            ..Self::default()
        }
    }
}

/// Sampling parameters that are known to be in range. Reads like a [`SamplingConfig`].
///
/// # Examples
///
/// ```
/// use grsap_core::{SamplingConfig, SamplingParams};
///
/// let bad = SamplingConfig { top_p: 1.5, ..Default::default() };
/// let error = SamplingParams::new(bad).unwrap_err();
/// assert_eq!(error.to_string(), "top_p must be in (0, 1], got 1.5");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SamplingConfig", into = "SamplingConfig")]
pub struct SamplingParams(SamplingConfig);

impl SamplingParams {
    /// Checks `config`.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of range.
    pub fn new(config: SamplingConfig) -> Result<Self, SamplingError> {
        let error = |field, expected, got: String| SamplingError {
            field,
            expected,
            got,
        };
        if !(config.temperature.is_finite() && config.temperature >= 0.0) {
            return Err(error(
                "temperature",
                "finite and at least 0",
                config.temperature.to_string(),
            ));
        }
        if !(config.top_p > 0.0 && config.top_p <= 1.0) {
            return Err(error("top_p", "in (0, 1]", config.top_p.to_string()));
        }
        if config.top_k == Some(0) {
            return Err(error("top_k", "at least 1", "0".into()));
        }
        if config.max_new_tokens == 0 {
            return Err(error("max_new_tokens", "at least 1", "0".into()));
        }
        if config.n == 0 {
            return Err(error("n", "at least 1", "0".into()));
        }
        if config.stop.iter().any(String::is_empty) {
            return Err(error("stop", "non-empty texts", "an empty one".into()));
        }
        Ok(Self(config))
    }

    /// Greedy decoding of up to `max_new_tokens` tokens (at least one).
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self(SamplingConfig::greedy(max_new_tokens.max(1)))
    }

    /// The plain form, to change and check again.
    pub fn into_config(self) -> SamplingConfig {
        self.0
    }

    /// The same parameters with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl Deref for SamplingParams {
    type Target = SamplingConfig;

    fn deref(&self) -> &SamplingConfig {
        &self.0
    }
}

impl TryFrom<SamplingConfig> for SamplingParams {
    type Error = SamplingError;

    fn try_from(config: SamplingConfig) -> Result<Self, SamplingError> {
        Self::new(config)
    }
}

impl From<SamplingParams> for SamplingConfig {
    fn from(params: SamplingParams) -> Self {
        params.0
    }
}

/// A sampling parameter is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {expected}, got {got}")]
#[non_exhaustive]
pub struct SamplingError {
    /// The field of [`SamplingConfig`].
    pub field: &'static str,
    /// What it must be.
    pub expected: &'static str,
    /// What it was.
    pub got: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_checked() {
        let ok = SamplingConfig::default();
        let cases = [
            (
                "temperature",
                SamplingConfig {
                    temperature: -0.1,
                    ..ok.clone()
                },
            ),
            (
                "temperature",
                SamplingConfig {
                    temperature: f64::NAN,
                    ..ok.clone()
                },
            ),
            (
                "temperature",
                SamplingConfig {
                    temperature: f64::INFINITY,
                    ..ok.clone()
                },
            ),
            (
                "top_p",
                SamplingConfig {
                    top_p: 0.0,
                    ..ok.clone()
                },
            ),
            (
                "top_p",
                SamplingConfig {
                    top_p: f64::NAN,
                    ..ok.clone()
                },
            ),
            (
                "top_k",
                SamplingConfig {
                    top_k: Some(0),
                    ..ok.clone()
                },
            ),
            (
                "max_new_tokens",
                SamplingConfig {
                    max_new_tokens: 0,
                    ..ok.clone()
                },
            ),
            ("n", SamplingConfig { n: 0, ..ok.clone() }),
            (
                "stop",
                SamplingConfig {
                    stop: vec![String::new()],
                    ..ok.clone()
                },
            ),
        ];
        for (field, config) in cases {
            assert_eq!(SamplingParams::new(config).unwrap_err().field, field);
        }
        assert!(SamplingParams::new(ok).is_ok());
    }

    #[test]
    fn deserialising_checks_too() {
        let error = serde_json::from_str::<SamplingParams>(r#"{"top_p": 2.0}"#).unwrap_err();
        assert!(error.to_string().contains("top_p must be in (0, 1], got 2"));
        let error = serde_json::from_str::<SamplingParams>(r#"{"topp": 1.0}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `topp`"));
    }
}
