use burn::tensor::{Device, Tensor};
use grsap_kernels::{
    AttentionShape, Dropout, KernelError, Segment, attention, rms_norm, rotary, swiglu,
};

use super::kv_cache::KvCache;
use super::projection::{Projection, vector};
use crate::decoder_config::DecoderConfig;
use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// One block: attention and MLP, each behind a norm and added to the stream.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    input_layernorm: Tensor<1>,
    post_attention_layernorm: Tensor<1>,
    /// In the order of [`Layer::NAMES`].
    projections: [Projection; 7],
}

/// What all layers of one forward pass share.
pub(super) struct Pass<'a> {
    pub(super) cos: Tensor<2>,
    pub(super) sin: Tensor<2>,
    pub(super) segments: &'a [Segment],
    pub(super) shape: AttentionShape,
    pub(super) eps: f64,
    pub(super) dropout: Option<Dropout>,
}

impl Layer {
    pub(super) const NAMES: [&'static str; 7] = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];

    pub(super) fn load(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        index: usize,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let q = config.num_attention_heads * config.head_dim;
        let kv = config.num_key_value_heads * config.head_dim;
        let mlp = config.intermediate_size;
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let project = |part: &str, shape: [usize; 2], bias: bool| {
            Projection::load(source, &name(part), shape, bias, device)
        };
        let bias = config.attention_bias;
        let [
            q_name,
            k_name,
            v_name,
            o_name,
            gate_name,
            up_name,
            down_name,
        ] = Self::NAMES;
        let norm = |part: &str| vector(source, &name(&format!("{part}.weight")), hidden, device);
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            projections: [
                project(q_name, [q, hidden], bias)?,
                project(k_name, [kv, hidden], bias)?,
                project(v_name, [kv, hidden], bias)?,
                project(o_name, [hidden, q], bias)?,
                project(gate_name, [mlp, hidden], false)?,
                project(up_name, [mlp, hidden], false)?,
                project(down_name, [hidden, mlp], false)?,
            ],
        })
    }

    pub(super) fn projections(&self) -> impl Iterator<Item = (&'static str, &Projection)> {
        Self::NAMES.into_iter().zip(&self.projections)
    }

    pub(super) fn projections_mut(
        &mut self,
    ) -> impl Iterator<Item = (&'static str, &mut Projection)> {
        Self::NAMES.into_iter().zip(&mut self.projections)
    }

    pub(super) fn forward(
        &self,
        index: usize,
        x: Tensor<2>,
        pass: &Pass<'_>,
        cache: Option<(&mut KvCache, &[usize])>,
    ) -> Result<Tensor<2>, KernelError> {
        let [
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            gate_proj,
            up_proj,
            down_proj,
        ] = &self.projections;
        // Every projection has a dropout mask of its own.
        let dropout = |place: u64| {
            pass.dropout.map(|d| {
                let step = (index as u64 * 8 + place + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
                Dropout {
                    seed: d.seed.wrapping_add(step),
                    ..d
                }
            })
        };
        let normed = rms_norm(x.clone(), self.input_layernorm.clone(), pass.eps)?;
        let turn = |t: Tensor<2>| rotary(t, pass.cos.clone(), pass.sin.clone());
        let q = turn(q_proj.forward(normed.clone(), dropout(0))?)?;
        let k = turn(k_proj.forward(normed.clone(), dropout(1))?)?;
        let v = v_proj.forward(normed, dropout(2))?;
        let (k, v) = match cache {
            Some((cache, rows)) => cache.update(index, k, v, rows)?,
            None => (k, v),
        };
        let attended = attention(q, k, v, pass.shape, pass.segments)?;
        let x = x + o_proj.forward(attended, dropout(3))?;

        let normed = rms_norm(x.clone(), self.post_attention_layernorm.clone(), pass.eps)?;
        let gate = gate_proj.forward(normed.clone(), dropout(4))?;
        let up = up_proj.forward(normed, dropout(5))?;
        Ok(x + down_proj.forward(swiglu(gate, up)?, dropout(6))?)
    }
}
