use serde::{Deserialize, Serialize};

use super::config::DecoderConfig;

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// How the frequencies are changed for long contexts.
    pub scaling: Option<RopeScaling>,
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

impl DecoderConfig {
    /// The `head_dim / 2` inverse frequencies of the rotary embedding, scaling applied; none where
    /// the positions are learned.
    ///
    /// # Source
    ///
    /// `transformers.modeling_rope_utils`, in single precision as there.
    pub fn inv_freq(&self) -> Vec<f32> {
        let Some(RopeConfig { theta, scaling }) = &self.rope else {
            return Vec::new();
        };
        let plain = (0..self.head_dim / 2).map(|i| {
            let exponent = (2 * i) as f32 / self.head_dim as f32;
            1.0 / theta.powf(f64::from(exponent)) as f32
        });
        match scaling {
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
