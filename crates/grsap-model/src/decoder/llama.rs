use burn::tensor::{Device, Int, Tensor, TensorData};
use grsap_kernels::{AttentionShape, Dropout, KernelError, Segment, linear, rms_norm};

use super::kv_cache::KvCache;
use super::layer::{Layer, Pass};
use super::projection::{Projection, matrix, vector};
use crate::decoder_config::DecoderConfig;
use crate::load_error::LoadError;
use crate::tensor_survey::load_surveyed;
use crate::weights::TensorSource;

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Tensors that files have and no decoder needs: rotary frequencies and causal masks, which are
/// computed, under the names of safetensors and of GGUF files.
fn is_ignored(name: &str) -> bool {
    ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
        || name.starts_with("rope_freqs.")
}

fn is_equal(source: &dyn TensorSource, a: &str, b: &str) -> Result<bool, LoadError> {
    Ok(source.shape(a) == source.shape(b) && source.read_f32(a)? == source.read_f32(b)?)
}

/// The tokens of one forward pass: any number of sequences, one after another, without padding.
#[derive(Debug, Clone, Default)]
pub struct DecoderInput {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// The position of each token in its sequence.
    pub positions: Vec<usize>,
    /// Which rows belong together. Key rows are rows of the cache where there is one, else tokens.
    pub segments: Vec<Segment>,
    /// With a cache: the row where each token's key and value are stored.
    pub cache_rows: Vec<usize>,
    /// Dropout on the adapters' inputs, while training.
    pub dropout: Option<Dropout>,
}

impl DecoderInput {
    /// Whole sequences, without a cache: for training and scoring.
    pub fn packed<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut input = Self::default();
        let mut lengths = Vec::new();
        for sequence in sequences {
            input.input_ids.extend_from_slice(sequence);
            input.positions.extend(0..sequence.len());
            lengths.push(sequence.len());
        }
        input.segments = Segment::packed(lengths);
        input
    }
}

/// A Llama decoder.
///
/// # Source
///
/// `LlamaForCausalLM` in transformers: pre-norm blocks, grouped-query attention, half-split rotary
/// embedding, SwiGLU.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    embed_tokens: Tensor<2>,
    layers: Vec<Layer>,
    norm: Tensor<1>,
    /// `None` where the embedding serves as the head.
    lm_head: Option<Tensor<2>>,
    inv_freq: Vec<f32>,
}

impl Decoder {
    /// Reads the weights onto a device, one tensor at a time.
    ///
    /// Where the configuration ties the output layer to the embedding and the file has both, they
    /// are tied only if they are equal, as in transformers.
    ///
    /// # Errors
    ///
    /// [`LoadError::Tensors`] with all tensors that are missing, not expected or misshapen, before
    /// any value is read; [`LoadError::NonFinite`] names the first that has NaN or infinity in it.
    pub fn load(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let mut config = config.clone();
        if config.tie_word_embeddings && source.shape(HEAD).is_some() {
            config.tie_word_embeddings = is_equal(source, HEAD, EMBEDDING)?;
        }
        load_surveyed(
            source,
            |name| is_ignored(name) || (config.tie_word_embeddings && name == HEAD),
            |source| Self::build(source, &config, device),
        )
    }

    fn build(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(source, config, index, device))
            .collect::<Result<_, _>>()?;
        let lm_head = (!config.tie_word_embeddings)
            .then(|| matrix(source, HEAD, [vocab, hidden], device))
            .transpose()?;
        Ok(Self {
            embed_tokens: matrix(source, EMBEDDING, [vocab, hidden], device)?,
            layers,
            norm: vector(source, "model.norm.weight", hidden, device)?,
            lm_head,
            inv_freq: config.inv_freq(),
            config: config.clone(),
        })
    }

    /// The shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// The weight of the output layer, `[vocab, hidden]`.
    pub fn head_weight(&self) -> &Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// All linear layers of the blocks, with their names
    /// (`model.layers.0.self_attn.q_proj`).
    pub fn projections(&self) -> impl Iterator<Item = (String, &Projection)> {
        self.layers.iter().enumerate().flat_map(|(index, layer)| {
            let named = layer.projections();
            named.map(move |(name, projection)| (full_name(index, name), projection))
        })
    }

    /// The same, to change.
    pub fn projections_mut(&mut self) -> impl Iterator<Item = (String, &mut Projection)> {
        self.layers
            .iter_mut()
            .enumerate()
            .flat_map(|(index, layer)| {
                let named = layer.projections_mut();
                named.map(move |(name, projection)| (full_name(index, name), projection))
            })
    }

    /// The normalised hidden state of every token, `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the input's parts do not fit together or an id is not in the
    /// vocabulary.
    pub fn hidden_states(
        &self,
        input: &DecoderInput,
        mut cache: Option<&mut KvCache>,
    ) -> Result<Tensor<2>, KernelError> {
        let op = "decoder";
        let tokens = input.input_ids.len();
        if input.positions.len() != tokens {
            let got = input.positions.len();
            return Err(KernelError::Shape {
                op,
                what: "positions",
                expected: tokens,
                got,
            });
        }
        let vocab = self.config.vocab_size;
        if let Some(&id) = input.input_ids.iter().find(|&&id| id as usize >= vocab) {
            let (index, len) = (id as usize, vocab);
            return Err(KernelError::Index {
                op,
                what: "token id",
                index,
                len,
            });
        }
        let device = self.device();
        let ids: Vec<i32> = input.input_ids.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens]), &device);
        let mut x = self.embed_tokens.clone().select(0, ids);
        let (cos, sin) = self.angles(&input.positions, &device);
        let pass = Pass {
            cos,
            sin,
            segments: &input.segments,
            shape: AttentionShape {
                num_heads: self.config.num_attention_heads,
                num_kv_heads: self.config.num_key_value_heads,
                head_dim: self.config.head_dim,
                causal: true,
            },
            eps: self.config.rms_norm_eps,
            dropout: input.dropout,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let cache = cache
                .as_deref_mut()
                .map(|cache| (cache, input.cache_rows.as_slice()));
            x = layer.forward(index, x, &pass, cache)?;
        }
        rms_norm(x, self.norm.clone(), self.config.rms_norm_eps)
    }

    /// The logits of the given rows of the hidden states, `[rows, vocab]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when a row is out of range.
    pub fn logits(&self, hidden: Tensor<2>, rows: &[usize]) -> Result<Tensor<2>, KernelError> {
        linear(select_rows(hidden, rows)?, self.head_weight().clone())
    }

    fn angles(&self, positions: &[usize], device: &Device) -> (Tensor<2>, Tensor<2>) {
        let shape = [positions.len(), self.inv_freq.len()];
        let mut cos = Vec::with_capacity(shape[0] * shape[1]);
        let mut sin = Vec::with_capacity(shape[0] * shape[1]);
        for &position in positions {
            for inv_freq in &self.inv_freq {
                // The product is rounded to f32 first, as in transformers.
                let (s, c) = (position as f32 * inv_freq).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        (
            Tensor::from_data(TensorData::new(cos, shape), device),
            Tensor::from_data(TensorData::new(sin, shape), device),
        )
    }
}

/// Some rows of a tensor, in the given order.
pub(crate) fn select_rows(x: Tensor<2>, rows: &[usize]) -> Result<Tensor<2>, KernelError> {
    let len = x.dims()[0];
    if let Some(&index) = rows.iter().find(|&&row| row >= len) {
        return Err(KernelError::Index {
            op: "select_rows",
            what: "row",
            index,
            len,
        });
    }
    let ids: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), &x.device());
    Ok(x.select(0, ids))
}

fn full_name(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}
