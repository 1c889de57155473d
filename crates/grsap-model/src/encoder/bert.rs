use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use grsap_kernels::{AttentionShape, KernelError, Segment, WeightFormat, attention};
use serde::Deserialize;

use crate::decoder::{Projection, ProjectionForm, matrix};
use crate::decoder_config::NormKind;
use crate::load_error::{LARGEST_SIZE, LoadError, check_size, read_json};
use crate::norm::Norm;
use crate::tensor_survey::load_surveyed;
use crate::weights::TensorSource;

/// The fields of `config.json` that a BERT encoder needs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BertConfig {
    model_type: String,
    pub(super) hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) vocab_size: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    position_embedding_type: Option<String>,
}

impl BertConfig {
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let invalid = |field: &str, reason: String| LoadError::invalid(path, field, reason);
        let config: Self = serde_json::from_value(read_json(path)?)
            .map_err(|e| invalid("config", e.to_string()))?;
        if config.model_type != "bert" {
            return Err(LoadError::UnknownArchitecture {
                path: path.to_owned(),
                architecture: config.model_type,
                supported: &["bert"],
            });
        }
        if config.hidden_act != "gelu" {
            let reason = format!("`{}` is not supported, only `gelu`", config.hidden_act);
            return Err(invalid("hidden_act", reason));
        }
        if let Some(other) = config.position_embedding_type.as_deref()
            && other != "absolute"
        {
            let reason = format!("`{other}` is not supported, only `absolute`");
            return Err(invalid("position_embedding_type", reason));
        }
        for (field, size) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ] {
            check_size(path, field, size, LARGEST_SIZE)?;
        }
        let eps = config.layer_norm_eps;
        if !(eps.is_finite() && eps > 0.0) {
            return Err(invalid(
                "layer_norm_eps",
                format!("must be above 0, got {eps}"),
            ));
        }
        if !config
            .hidden_size
            .is_multiple_of(config.num_attention_heads)
        {
            let reason = format!("must divide hidden_size {}", config.hidden_size);
            return Err(invalid("num_attention_heads", reason));
        }
        Ok(config)
    }
}

#[derive(Debug, Clone)]
struct Layer {
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    attention_norm: Norm,
    intermediate: Projection,
    down: Projection,
    norm: Norm,
}

/// A BERT encoder.
///
/// # Source
///
/// Devlin et al. 2019; `BertModel` in transformers, post-norm, exact GELU.
#[derive(Debug, Clone)]
pub(super) struct Bert {
    pub(super) config: BertConfig,
    words: Tensor<2>,
    positions: Tensor<2>,
    /// Of token type 0, the only one that single sentences have.
    token_type: Tensor<1>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// What stands behind the last hidden state in `BertModel`, and a table of positions, which is
/// computed.
fn is_ignored(name: &str) -> bool {
    name.starts_with("pooler.") || name == "embeddings.position_ids"
}

impl Bert {
    pub(super) fn load(
        source: &dyn TensorSource,
        config: BertConfig,
        device: &Device,
    ) -> Result<Self, LoadError> {
        load_surveyed(source, is_ignored, |source| {
            Self::build(source, config.clone(), device)
        })
    }

    fn build(
        source: &dyn TensorSource,
        config: BertConfig,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        let form = (NormKind::Layer, config.layer_norm_eps);
        let layer = |index: usize| {
            let name = |part: &str| format!("encoder.layer.{index}.{part}");
            let project = |part: &str, shape: [usize; 2]| {
                let stored = ProjectionForm {
                    bias: true,
                    transposed: false,
                    format: WeightFormat::F32,
                };
                Projection::load(source, &name(part), shape, stored, device)
            };
            let norm = |part: &str| Norm::load(source, &name(part), form, hidden, device);
            Ok(Layer {
                query: project("attention.self.query", [hidden, hidden])?,
                key: project("attention.self.key", [hidden, hidden])?,
                value: project("attention.self.value", [hidden, hidden])?,
                output: project("attention.output.dense", [hidden, hidden])?,
                attention_norm: norm("attention.output.LayerNorm")?,
                intermediate: project("intermediate.dense", [mlp, hidden])?,
                down: project("output.dense", [hidden, mlp])?,
                norm: norm("output.LayerNorm")?,
            })
        };
        let layers = (0..config.num_hidden_layers)
            .map(layer)
            .collect::<Result<_, LoadError>>()?;
        let embedding = |part: &str, rows: usize| {
            let name = format!("embeddings.{part}.weight");
            matrix(source, &name, [rows, hidden], device)
        };
        let token_types = embedding("token_type_embeddings", config.type_vocab_size)?;
        Ok(Self {
            words: embedding("word_embeddings", config.vocab_size)?,
            positions: embedding("position_embeddings", config.max_position_embeddings)?,
            token_type: token_types.narrow(0, 0, 1).reshape([hidden]),
            norm: Norm::load(source, "embeddings.LayerNorm", form, hidden, device)?,
            layers,
            config,
        })
    }

    /// The last hidden state of every token, `[tokens, hidden]`. Ids and lengths are in range.
    pub(super) fn forward(&self, sequences: &[&[u32]]) -> Result<Tensor<2>, KernelError> {
        let device = self.words.device();
        let ids: Vec<i32> = sequences
            .iter()
            .flat_map(|s| s.iter().map(|&id| id as i32))
            .collect();
        let positions: Vec<i32> = sequences.iter().flat_map(|s| 0..s.len() as i32).collect();
        let select = |table: &Tensor<2>, ids: Vec<i32>| {
            let len = ids.len();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [len]), &device);
            table.clone().select(0, ids)
        };
        let x = select(&self.words, ids) + select(&self.positions, positions);
        let mut x = self.norm.forward(x + self.token_type.clone().unsqueeze())?;
        let segments = Segment::packed(sequences.iter().map(|s| s.len()));
        let num_heads = self.config.num_attention_heads;
        let head_dim = self.config.hidden_size / num_heads;
        let shape = AttentionShape {
            causal: false,
            ..AttentionShape::causal(num_heads, num_heads, head_dim)
        };
        for layer in &self.layers {
            let q = layer.query.forward(x.clone(), None)?;
            let k = layer.key.forward(x.clone(), None)?;
            let v = layer.value.forward(x.clone(), None)?;
            let attended = attention(q, k, v, shape, &segments)?;
            x = layer
                .attention_norm
                .forward(layer.output.forward(attended, None)? + x)?;
            let inner = activation::gelu(layer.intermediate.forward(x.clone(), None)?);
            x = layer.norm.forward(layer.down.forward(inner, None)? + x)?;
        }
        Ok(x)
    }
}
