use burn::tensor::{Device, Tensor};
use grsap_kernels::{
    AttentionShape, Dropout, KernelError, Segment, WeightFormat, attention, rotary,
};

use super::kv_cache::KvCache;
use super::mlp::Mlp;
use super::projection::{Projection, ProjectionForm};
use crate::decoder_config::{BlockNorms, DecoderConfig, Family, QkNorm, TensorNames};
use crate::load_error::LoadError;
use crate::norm::Norm;
use crate::weights::TensorSource;

/// One block: attention and MLP, each added to the stream, with norms before or behind them.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    before_attention: Option<Norm>,
    /// Query, key and value, or one for all three.
    qkv: Vec<Projection>,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    attention_out: Projection,
    after_attention: Option<Norm>,
    before_mlp: Option<Norm>,
    mlp: Mlp,
    after_mlp: Option<Norm>,
    shape: AttentionShape,
}

/// What all layers of one forward pass share.
pub(super) struct Pass<'a> {
    /// Cosines and sines of the rotary angles; `None` where positions are learned.
    pub(super) angles: Option<(Tensor<2>, Tensor<2>)>,
    pub(super) segments: &'a [Segment],
    pub(super) dropout: Option<Dropout>,
}

impl Pass<'_> {
    /// The dropout of a projection: every one has a mask of its own.
    pub(super) fn dropout(&self, layer: usize, place: usize) -> Option<Dropout> {
        self.dropout.map(|d| {
            let step = (layer as u64 * 8 + place as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
            Dropout {
                seed: d.seed.wrapping_add(step),
                ..d
            }
        })
    }
}

/// The names of a layer's projections, in the order of [`Layer::projections`].
pub(super) fn projection_names(names: &TensorNames) -> impl Iterator<Item = &'static str> {
    let attention = names.qkv.iter().copied().chain([names.attention_out]);
    attention.chain(names.mlp_in.iter().copied().chain([names.mlp_out]))
}

impl Layer {
    pub(super) fn load(
        source: &dyn TensorSource,
        config: &DecoderConfig,
        family: &Family,
        index: usize,
        (device, format): (&Device, WeightFormat),
    ) -> Result<Self, LoadError> {
        let names = &family.tensors;
        let name = |part: &str| format!("{}{}.{index}.{part}", names.base, names.layers);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let form = |bias: bool| ProjectionForm {
            bias,
            transposed: family.fan_in_fan_out,
            format,
        };
        let widths: &[usize] = match names.qkv.len() {
            1 => &[q + 2 * kv],
            _ => &[q, kv, kv],
        };
        let project = |(part, width): (&&str, &usize)| {
            let form = form(config.qkv_bias);
            Projection::load(source, &name(part), [*width, hidden], form, device)
        };
        let eps = config.norm_eps;
        let norm = |part: Option<&str>| {
            let load =
                |part: &str| Norm::load(source, &name(part), (family.norm, eps), hidden, device);
            part.map(load).transpose()
        };
        let qk_norm = |part: &str, width: usize| {
            let load = |over: QkNorm| {
                let len = match over {
                    QkNorm::Head => head_dim,
                    QkNorm::Projection => width,
                };
                Norm::load(source, &name(part), (family.norm, eps), len, device)
            };
            family.qk_norm.map(load).transpose()
        };
        let BlockNorms {
            before_attention,
            after_attention,
            before_mlp,
            after_mlp,
        } = names.norms;
        Ok(Self {
            before_attention: norm(before_attention)?,
            qkv: names
                .qkv
                .iter()
                .zip(widths)
                .map(project)
                .collect::<Result<_, _>>()?,
            q_norm: qk_norm(TensorNames::Q_NORM, q)?,
            k_norm: qk_norm(TensorNames::K_NORM, kv)?,
            attention_out: Projection::load(
                source,
                &name(names.attention_out),
                [hidden, q],
                form(config.attention_out_bias),
                device,
            )?,
            after_attention: norm(after_attention)?,
            before_mlp: norm(before_mlp)?,
            mlp: Mlp::load(source, config, names, form(config.mlp_bias), &name, device)?,
            after_mlp: norm(after_mlp)?,
            shape: AttentionShape {
                scale: (1.0 / config.query_pre_attn_scalar.sqrt()) as f32,
                softcap: config.attn_logit_softcapping.map(|cap| cap as f32),
                window: config.sliding_window(index),
                ..AttentionShape::causal(heads, kv_heads, head_dim)
            },
        })
    }

    /// All norms, with the last parts of their names.
    pub(super) fn norms(&self, names: &TensorNames) -> impl Iterator<Item = (&'static str, &Norm)> {
        let BlockNorms {
            before_attention,
            after_attention,
            before_mlp,
            after_mlp,
        } = names.norms;
        [
            (before_attention, &self.before_attention),
            (after_attention, &self.after_attention),
            (before_mlp, &self.before_mlp),
            (after_mlp, &self.after_mlp),
            (Some(TensorNames::Q_NORM), &self.q_norm),
            (Some(TensorNames::K_NORM), &self.k_norm),
        ]
        .into_iter()
        .filter_map(|(name, norm)| Some((name?, norm.as_ref()?)))
    }

    /// The same, to change.
    pub(super) fn norms_mut(
        &mut self,
        names: &TensorNames,
    ) -> impl Iterator<Item = (&'static str, &mut Norm)> {
        let BlockNorms {
            before_attention,
            after_attention,
            before_mlp,
            after_mlp,
        } = names.norms;
        [
            (before_attention, &mut self.before_attention),
            (after_attention, &mut self.after_attention),
            (before_mlp, &mut self.before_mlp),
            (after_mlp, &mut self.after_mlp),
            (Some(TensorNames::Q_NORM), &mut self.q_norm),
            (Some(TensorNames::K_NORM), &mut self.k_norm),
        ]
        .into_iter()
        .filter_map(|(name, norm)| Some((name?, norm.as_mut()?)))
    }

    /// Whether a gradient is asked for of any of its weights.
    pub(super) fn is_tracked(&self) -> bool {
        let norms = [
            &self.before_attention,
            &self.after_attention,
            &self.before_mlp,
            &self.after_mlp,
            &self.q_norm,
            &self.k_norm,
        ];
        norms.into_iter().flatten().any(Norm::is_tracked)
            || self.projections().any(Projection::is_tracked)
    }

    pub(super) fn projections(&self) -> impl Iterator<Item = &Projection> {
        let attention = self.qkv.iter().chain([&self.attention_out]);
        attention.chain(self.mlp.projections())
    }

    pub(super) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        let attention = self.qkv.iter_mut().chain([&mut self.attention_out]);
        attention.chain(self.mlp.projections_mut())
    }

    pub(super) fn forward(
        &self,
        index: usize,
        x: Tensor<2>,
        pass: &Pass<'_>,
        cache: Option<(&mut KvCache, &[usize])>,
    ) -> Result<Tensor<2>, KernelError> {
        let norm = |norm: &Option<Norm>, x: Tensor<2>| match norm {
            Some(norm) => norm.forward(x),
            None => Ok(x),
        };
        let attended = self.attend(index, norm(&self.before_attention, x.clone())?, pass, cache)?;
        let x = x + norm(&self.after_attention, attended)?;
        let inner = norm(&self.before_mlp, x.clone())?;
        let dropout = |place| pass.dropout(index, self.qkv.len() + 1 + place);
        let inner = self.mlp.forward(inner, dropout)?;
        Ok(x + norm(&self.after_mlp, inner)?)
    }

    fn attend(
        &self,
        index: usize,
        x: Tensor<2>,
        pass: &Pass<'_>,
        cache: Option<(&mut KvCache, &[usize])>,
    ) -> Result<Tensor<2>, KernelError> {
        let (q, k, v) = self.queries_keys_values(index, x, pass)?;
        let (k, v) = match cache {
            Some((cache, rows)) => cache.update(index, k, v, rows)?,
            None => (k, v),
        };
        let attended = attention(q, k, v, self.shape, pass.segments)?;
        let dropout = pass.dropout(index, self.qkv.len());
        self.attention_out.forward(attended, dropout)
    }

    fn queries_keys_values(
        &self,
        index: usize,
        x: Tensor<2>,
        pass: &Pass<'_>,
    ) -> Result<(Tensor<2>, Tensor<2>, Tensor<2>), KernelError> {
        let head_dim = self.shape.head_dim;
        let project = |(place, projection): (usize, &Projection)| {
            projection.forward(x.clone(), pass.dropout(index, place))
        };
        let projected: Vec<Tensor<2>> = self
            .qkv
            .iter()
            .enumerate()
            .map(project)
            .collect::<Result<_, _>>()?;
        let (q, k, v) = match <[Tensor<2>; 3]>::try_from(projected) {
            Ok([q, k, v]) => (q, k, v),
            Err(fused) => {
                let (q, kv) = (
                    self.shape.num_heads * head_dim,
                    self.shape.num_kv_heads * head_dim,
                );
                let fused = Tensor::cat(fused, 1);
                let part = |from, width| fused.clone().narrow(1, from, width);
                (part(0, q), part(q, kv), part(q + kv, kv))
            }
        };
        let place = |t: Tensor<2>, norm: &Option<Norm>| {
            let t = match norm {
                Some(norm) => norm.forward_parts(t)?,
                None => t,
            };
            match &pass.angles {
                Some((cos, sin)) => rotary(t, cos.clone(), sin.clone()),
                None => Ok(t),
            }
        };
        Ok((place(q, &self.q_norm)?, place(k, &self.k_norm)?, v))
    }
}
