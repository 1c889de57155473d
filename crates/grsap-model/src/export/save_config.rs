use serde::{Deserialize, Serialize};

/// How weights are stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightDtype {
    /// As they are in memory.
    F32,
    /// In half the space, to three digits.
    #[default]
    BF16,
    /// In half the space, to three digits and a half; up to 65,504.
    F16,
}

/// How [`ChatModel::save_pretrained`](crate::ChatModel::save_pretrained) writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaveConfig {
    /// How the weights are stored.
    pub dtype: WeightDtype,
    /// Weights beyond so many bytes go to a further file; a tensor is never split.
    pub max_shard_bytes: u64,
}

impl Default for SaveConfig {
    /// `bf16`, 5 GB a file.
    fn default() -> Self {
        Self {
            dtype: WeightDtype::default(),
            max_shard_bytes: 5_000_000_000,
        }
    }
}

impl WeightDtype {
    /// As safetensors calls it.
    pub(super) fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::BF16 => "BF16",
            Self::F16 => "F16",
        }
    }

    /// As PyTorch calls it.
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::BF16 | Self::F16 => 2,
        }
    }
}
