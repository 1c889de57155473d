//! A random decoder of two layers, for tests.

use std::path::Path;

use burn::tensor::Device;
use grsap_model::{
    Activation, Decoder, DecoderConfig, LoadError, RopeConfig, TensorSource, WeightFormat,
};
use rand::RngExt;

use crate::adapter::{LoraConfig, attach, replace, tensors};
use crate::example::SftExample;

pub(crate) const VOCAB: usize = 40;

struct RandomWeights;

fn config() -> DecoderConfig {
    DecoderConfig {
        architecture: "llama".into(),
        vocab_size: VOCAB,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        norm_eps: 1e-5,
        rope: Some(RopeConfig {
            theta: 10_000.0,
            scaling: None,
        }),
        max_position_embeddings: 32,
        hidden_act: Activation::Silu,
        tie_word_embeddings: false,
        qkv_bias: false,
        attention_out_bias: false,
        mlp_bias: false,
        query_pre_attn_scalar: 4.0,
        attn_logit_softcapping: None,
        final_logit_softcapping: None,
        sliding_windows: Vec::new(),
    }
}

impl TensorSource for RandomWeights {
    fn path(&self) -> &Path {
        Path::new("random")
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(match name.rsplit('.').nth(1)? {
            "embed_tokens" | "lm_head" => vec![VOCAB, 16],
            "q_proj" | "o_proj" => vec![16, 16],
            "k_proj" | "v_proj" => vec![8, 16],
            "gate_proj" | "up_proj" => vec![24, 16],
            "down_proj" => vec![16, 24],
            _ => vec![16],
        })
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let len = self.shape(name).unwrap().iter().product();
        let mut rng = grsap_core::rng(3, "weights", &[name.as_bytes()]);
        Ok((0..len).map(|_| rng.random_range(-0.6..0.6)).collect())
    }
}

/// The base model.
pub(crate) fn tiny_decoder() -> Decoder {
    tiny_decoder_in(WeightFormat::F32)
}

pub(crate) fn tiny_decoder_in(format: WeightFormat) -> Decoder {
    Decoder::load_as(&RandomWeights, &config(), &Device::flex(), format).unwrap()
}

/// The same with adapters, whose B is not zero.
pub(crate) fn adapted_decoder(lora: &LoraConfig) -> Decoder {
    let mut decoder = tiny_decoder();
    attach(&mut decoder, lora, 1).unwrap();
    let mut rng = grsap_core::rng(4, "factors", &[]);
    let values: Vec<_> = tensors(&decoder)
        .map(|(_, tensor)| {
            let values: Vec<f32> = (0..tensor.dims().iter().product())
                .map(|_| rng.random_range(-0.3..0.3))
                .collect();
            let data = burn::tensor::TensorData::new(values, tensor.dims());
            burn::tensor::Tensor::from_data(data, &tensor.device())
        })
        .collect();
    replace(&mut decoder, values).unwrap();
    decoder
}

/// Rank 2 on everything.
pub(crate) fn tiny_lora() -> LoraConfig {
    LoraConfig {
        r: 2,
        lora_alpha: 4.0,
        lora_dropout: 0.0,
        ..LoraConfig::default()
    }
}

/// Random examples of different lengths; every third is in the group `replay`.
pub(crate) fn random_examples(n: usize) -> Vec<SftExample> {
    let mut rng = grsap_core::rng(5, "examples", &[]);
    (0..n)
        .map(|index| {
            let len = rng.random_range(4..14);
            let ids = (0..len)
                .map(|_| rng.random_range(0..VOCAB as u32))
                .collect();
            let first_target = rng.random_range(1..len);
            let targets = (0..len).map(|i| i >= first_target).collect();
            let group = if index % 3 == 0 { "replay" } else { "task" };
            SftExample::new(ids, targets).unwrap().with_group(group)
        })
        .collect()
}

/// The bits of all factors.
pub(crate) fn bits(decoder: &Decoder) -> Vec<u32> {
    tensors(decoder)
        .flat_map(|(_, t)| t.clone().inner().into_data().try_into_vec::<f32>().unwrap())
        .map(f32::to_bits)
        .collect()
}
