use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use grsap_kernels::{
    Dropout, FrozenWeight, KernelError, Segment, WeightFormat, linear, linear_cross_entropy,
};

use super::kv_cache::KvCache;
use super::layer::{Layer, Pass, projection_names};
use super::projection::{Projection, ProjectionForm, frozen, matrix};
use super::unprefixed::Unprefixed;
use crate::decoder_config::{DecoderConfig, Family, TensorNames};
use crate::load_error::LoadError;
use crate::norm::Norm;
use crate::tensor_survey::load_surveyed;
use crate::weights::TensorSource;

pub(super) const HEAD: &str = "lm_head.weight";

/// Tensors that files have and no decoder needs: rotary frequencies and causal masks, which are
/// computed, under the names of safetensors and of GGUF files.
fn is_ignored(name: &str) -> bool {
    ["rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
        || name.contains("rope_freqs.")
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

/// A decoder-only transformer of one of the families that [`DecoderConfig`] knows.
///
/// # Source
///
/// The `...ForCausalLM` classes of transformers: `Llama`, `Mistral`, `Qwen2`, `Qwen3`, `Olmo2`,
/// `Gemma2`, and `GPT2LMHeadModel`. What they differ in is in the configuration and in one table
/// for each family.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    family: &'static Family,
    /// `None` where the head's weight serves.
    embedding: Option<Tensor<2>>,
    /// Learned positions, `[max_position_embeddings, hidden]`.
    positions: Option<Tensor<2>>,
    layers: Vec<Layer>,
    norm: Norm,
    lm_head: FrozenWeight,
    inv_freq: Vec<f32>,
}

/// The parts of a decoder that have weights, to change.
pub(super) struct PartsMut<'a> {
    pub(super) embedding: Option<&'a mut Tensor<2>>,
    pub(super) positions: Option<&'a mut Tensor<2>>,
    pub(super) layers: &'a mut [Layer],
    pub(super) norm: &'a mut Norm,
    pub(super) lm_head: &'a mut FrozenWeight,
}

/// How the head is held where the linear layers are in `format`.
pub(super) fn head_format(format: WeightFormat, device: &Device) -> WeightFormat {
    match format {
        WeightFormat::Nf4 if WeightFormat::Bf16.is_supported_by(device) => WeightFormat::Bf16,
        WeightFormat::Nf4 => WeightFormat::F32,
        format => format,
    }
}

impl Decoder {
    /// Reads the weights onto a device, one tensor at a time.
    ///
    /// Where the configuration ties the output layer to the embedding and the file has both, they
    /// are tied only if they are equal, as in transformers.
    ///
    /// # Errors
    ///
    /// [`LoadError::Invalid`] for a field that is out of range; [`LoadError::Tensors`] with all
    /// tensors that are missing, not expected or misshapen, before any value is read;
    /// [`LoadError::NonFinite`] names the first that has NaN or infinity in it.
    pub fn load(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self, LoadError> {
        Self::load_as(source, config, device, WeightFormat::F32)
    }

    /// The same, with the linear layers and the head in another format. Norms and biases stay in
    /// `f32`; so does an embedding that is not the head's weight, but on GPUs, where it is `bf16` with all
    /// formats other than `f32`. Four bits are for the linear layers alone, as in QLoRA: the head is
    /// then in `bf16`.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`LoadError::Invalid`] when the device does not have the
    /// format.
    pub fn load_as(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        device: &Device,
        format: WeightFormat,
    ) -> Result<Self, LoadError> {
        config.validate(source.path())?;
        let names = &config.family(source.path())?.tensors;
        let embedding = format!("{}{}.weight", names.base, names.embedding);
        // Files of the bare model lack the first part of the names.
        let unprefixed = Unprefixed::new(source, names.base);
        let source: &dyn TensorSource = match source.shape(&embedding) {
            None if unprefixed.shape(&embedding).is_some() => &unprefixed,
            _ => source,
        };
        let mut config = config.clone();
        if config.tie_word_embeddings && source.shape(HEAD).is_some() {
            config.tie_word_embeddings = is_equal(source, HEAD, &embedding)?;
        }
        load_surveyed(
            source,
            |name| is_ignored(name) || (config.tie_word_embeddings && name == HEAD),
            |source| Self::build(source, &config, device, format),
        )
    }

    fn build(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        device: &Device,
        format: WeightFormat,
    ) -> Result<Self, LoadError> {
        let family = config.family(source.path())?;
        let names = &family.tensors;
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let name = |part: &str| format!("{}{part}", names.base);
        let weight = |part: &str| name(&format!("{part}.weight"));
        let embedding = weight(names.embedding);
        let (head, embedding) = match config.tie_word_embeddings {
            true => (embedding, None),
            false => (HEAD.to_owned(), Some(embedding)),
        };
        let form = ProjectionForm {
            bias: false,
            transposed: false,
            format,
        };
        // The largest matrix first: packing holds it twice for a moment.
        let head_form = ProjectionForm {
            format: head_format(format, device),
            ..form
        };
        let lm_head = frozen(source, &head, [vocab, hidden], head_form, device)?;
        let embedding = embedding
            .map(|name| matrix(source, &name, [vocab, hidden], device))
            .transpose()?
            .map(|table| table.cast(lm_head.input_dtype()));
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(source, config, family, index, (device, format)))
            .collect::<Result<_, _>>()?;
        let positions = |part: &str| {
            let shape = [config.max_position_embeddings, hidden];
            matrix(source, &weight(part), shape, device)
        };
        let norm = (family.norm, config.norm_eps);
        Ok(Self {
            embedding,
            positions: names.positions.map(positions).transpose()?,
            layers,
            norm: Norm::load(source, &name(names.final_norm), norm, hidden, device)?,
            lm_head,
            inv_freq: config.inv_freq(),
            family,
            config: config.clone(),
        })
    }

    /// The shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.lm_head.device()
    }

    /// The weight of the output layer, `[vocab, hidden]`.
    pub fn head_weight(&self) -> &FrozenWeight {
        &self.lm_head
    }

    /// Whether the files of the family store linear weights `[in, out]`, PEFT's `fan_in_fan_out`.
    /// Here they are `[out, in]`, always.
    pub fn fan_in_fan_out(&self) -> bool {
        self.family.fan_in_fan_out
    }

    /// All linear layers of the blocks, with their names
    /// (`model.layers.0.self_attn.q_proj`, `transformer.h.0.attn.c_attn`).
    pub fn projections(&self) -> impl Iterator<Item = (String, &Projection)> {
        let names = &self.family.tensors;
        self.layers
            .iter()
            .enumerate()
            .flat_map(move |(index, layer)| {
                let named = projection_names(names).zip(layer.projections());
                named.map(move |(name, projection)| (full_name(names, index, name), projection))
            })
    }

    /// The same, to change.
    pub fn projections_mut(&mut self) -> impl Iterator<Item = (String, &mut Projection)> {
        let names = &self.family.tensors;
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(move |(index, layer)| {
            let named = projection_names(names).zip(layer.projections_mut());
            named.map(move |(name, projection)| (full_name(names, index, name), projection))
        })
    }

    /// The normalised hidden state of every token, `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when the input's parts do not fit together, an id is not in the vocabulary,
    /// or a position is beyond a table of learned positions.
    pub fn hidden_states(
        &self,
        input: &DecoderInput,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor<2>, KernelError> {
        let x = self.run_layers(input, cache, |_| ())?;
        self.norm.forward(x)
    }

    /// The hidden states of every layer, `[tokens, hidden]` each: the embeddings, the outputs of
    /// all layers but the last, and the last one's after the final norm, as
    /// `output_hidden_states` gives them in transformers.
    ///
    /// # Errors
    ///
    /// As [`hidden_states`](Self::hidden_states).
    pub fn all_hidden_states(
        &self,
        input: &DecoderInput,
        cache: Option<&mut KvCache>,
    ) -> Result<Vec<Tensor<2>>, KernelError> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let x = self.run_layers(input, cache, |x| states.push(x.clone()))?;
        states.push(self.norm.forward(x)?);
        Ok(states)
    }

    /// The output of the last layer; `visit` sees the input of each.
    fn run_layers(
        &self,
        input: &DecoderInput,
        mut cache: Option<&mut KvCache>,
        mut visit: impl FnMut(&Tensor<2>),
    ) -> Result<Tensor<2>, KernelError> {
        let mut x = self.embed(input)?;
        let pass = self.pass(input);
        for (index, layer) in self.layers.iter().enumerate() {
            visit(&x);
            let cache = cache
                .as_deref_mut()
                .map(|cache| (cache, input.cache_rows.as_slice()));
            x = layer.forward(index, x, &pass, cache)?;
        }
        Ok(x)
    }

    /// What the layers share in a pass over `input`.
    pub(super) fn pass<'a>(&self, input: &'a DecoderInput) -> Pass<'a> {
        Pass {
            angles: (!self.inv_freq.is_empty())
                .then(|| self.angles(&input.positions, &self.device())),
            segments: &input.segments,
            dropout: input.dropout,
        }
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(super) fn parts_mut(&mut self) -> PartsMut<'_> {
        PartsMut {
            embedding: self.embedding.as_mut(),
            positions: self.positions.as_mut(),
            layers: &mut self.layers,
            norm: &mut self.norm,
            lm_head: &mut self.lm_head,
        }
    }

    pub(super) fn norm(&self) -> &Norm {
        &self.norm
    }

    pub(super) fn family(&self) -> &'static Family {
        self.family
    }

    /// `None` where the head's weight serves.
    pub(super) fn embedding(&self) -> Option<&Tensor<2>> {
        self.embedding.as_ref()
    }

    pub(super) fn positions(&self) -> Option<&Tensor<2>> {
        self.positions.as_ref()
    }

    pub(super) fn embed(&self, input: &DecoderInput) -> Result<Tensor<2>, KernelError> {
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
        let ids = input.input_ids.iter().map(|&id| id as usize);
        let mut x = match &self.embedding {
            // The table may be of another type than the layers: of a decoder that was frozen, unfrozen or
            // moved, and of one whose weights are trained.
            Some(table) => rows(table, op, "token id", ids)?.cast(self.lm_head.input_dtype()),
            None => {
                let ids = in_range(self.lm_head.dims()[0], op, "token id", ids)?;
                self.lm_head.rows(&ids)?
            }
        };
        if self.family.scale_embedding {
            x = x * (self.config.hidden_size as f64).sqrt();
        }
        match &self.positions {
            Some(table) => {
                let positions = input.positions.iter().copied();
                Ok(x.clone() + rows(table, op, "position", positions)?.cast(x.dtype()))
            }
            None => Ok(x),
        }
    }

    /// The logits of the given rows of the hidden states, `[rows, vocab]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when a row is out of range.
    pub fn logits(&self, hidden: Tensor<2>, rows: &[usize]) -> Result<Tensor<2>, KernelError> {
        let logits = linear(select_rows(hidden, rows)?, &self.lm_head)?;
        Ok(match self.config.final_logit_softcapping {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        })
    }

    /// The negative log-likelihood of one target token for each hidden state, `[n]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] when there are not as many targets as rows, or one is not in the vocabulary.
    pub fn nll(&self, hidden: Tensor<2>, targets: &[u32]) -> Result<Tensor<1>, KernelError> {
        let softcap = self.config.final_logit_softcapping.map(|cap| cap as f32);
        linear_cross_entropy(hidden, &self.lm_head, targets, softcap)
    }

    fn angles(&self, positions: &[usize], device: &Device) -> (Tensor<2>, Tensor<2>) {
        let shape = [positions.len(), self.inv_freq.len()];
        let mut cos = Vec::with_capacity(shape[0] * shape[1]);
        let mut sin = Vec::with_capacity(shape[0] * shape[1]);
        // Sequences of a batch have the same positions.
        let mut known = HashMap::new();
        for &position in positions {
            let start = cos.len();
            if let Some(known) = known.get(&position) {
                cos.extend_from_within(Range::clone(known));
                sin.extend_from_within(Range::clone(known));
                continue;
            }
            for inv_freq in &self.inv_freq {
                // The product is rounded to f32 first, as in transformers.
                let (s, c) = (position as f32 * inv_freq).sin_cos();
                cos.push(c);
                sin.push(s);
            }
            known.insert(position, start..cos.len());
        }
        (
            Tensor::from_data(TensorData::new(cos, shape), device),
            Tensor::from_data(TensorData::new(sin, shape), device),
        )
    }
}

/// Some rows of a tensor, in the given order.
pub(crate) fn select_rows(x: Tensor<2>, indices: &[usize]) -> Result<Tensor<2>, KernelError> {
    rows(&x, "select_rows", "row", indices.iter().copied())
}

fn rows(
    table: &Tensor<2>,
    op: &'static str,
    what: &'static str,
    indices: impl Iterator<Item = usize>,
) -> Result<Tensor<2>, KernelError> {
    let ids = in_range(table.dims()[0], op, what, indices)?;
    let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
    let ids = TensorData::from(ids.as_slice());
    let ids = Tensor::<1, Int>::from_data(ids, &table.device());
    Ok(table.clone().select(0, ids))
}

/// The indices, all below `len` and small enough for a tensor of them.
fn in_range(
    len: usize,
    op: &'static str,
    what: &'static str,
    indices: impl Iterator<Item = usize>,
) -> Result<Vec<usize>, KernelError> {
    let checked = indices.map(|index| match i32::try_from(index) {
        Ok(_) if index < len => Ok(index),
        _ => Err(KernelError::Index {
            op,
            what,
            index,
            len,
        }),
    });
    checked.collect()
}

pub(super) fn full_name(names: &TensorNames, layer: usize, name: &str) -> String {
    format!("{}{}.{layer}.{name}", names.base, names.layers)
}
