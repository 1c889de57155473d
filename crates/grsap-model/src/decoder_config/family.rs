use super::config::Activation;

/// What all models of a family have in common and their files do not say: names of tensors, what
/// follows what in a block, defaults of the configuration.
///
/// # Source
///
/// The model and configuration classes of transformers; for GGUF llama.cpp's conversions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// `model_type` in `config.json`.
    pub(crate) name: &'static str,
    /// The class in transformers, `architectures` in `config.json`.
    pub(crate) class: &'static str,
    pub(crate) tensors: TensorNames,
    /// Linear weights are stored `[in, out]` (GPT-2's `Conv1D`).
    pub(crate) fan_in_fan_out: bool,
    pub(crate) norm: NormKind,
    /// What the norms of queries and keys go over, where there are such.
    pub(crate) qk_norm: Option<QkNorm>,
    /// Embeddings are multiplied by sqrt(hidden_size).
    pub(crate) scale_embedding: bool,
    pub(crate) windows: WindowRule,
    pub(crate) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is a field of the configuration; otherwise this is what it is.
    pub(crate) mlp_bias: Option<bool>,
    /// Fields of `config.json` under other names: (ours, theirs).
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    pub(crate) defaults: Defaults,
    /// How GGUF files hold the family, if llama.cpp has it under the same name.
    pub(crate) gguf: Option<GgufForm>,
}

/// Names of tensors, without `.weight`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorNames {
    /// What all names but that of the head begin with; absent in files of the bare model.
    pub(crate) base: &'static str,
    pub(crate) embedding: &'static str,
    /// Learned positions. Without them the positions are rotary.
    pub(crate) positions: Option<&'static str>,
    pub(crate) layers: &'static str,
    pub(crate) norms: BlockNorms,
    /// Query, key and value; or one for all three, in this order.
    pub(crate) qkv: &'static [&'static str],
    pub(crate) attention_out: &'static str,
    /// Gate and up; or one, where there is no gate.
    pub(crate) mlp_in: &'static [&'static str],
    pub(crate) mlp_out: &'static str,
    pub(crate) final_norm: &'static str,
}

impl TensorNames {
    pub(crate) const Q_NORM: &'static str = "self_attn.q_norm";
    pub(crate) const K_NORM: &'static str = "self_attn.k_norm";
}

/// The norms of a block, on the way into its two parts and on the way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockNorms {
    pub(crate) before_attention: Option<&'static str>,
    pub(crate) after_attention: Option<&'static str>,
    pub(crate) before_mlp: Option<&'static str>,
    pub(crate) after_mlp: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Root mean square, with a weight.
    Rms,
    /// The same, the weight stored less one.
    RmsLessOne,
    /// Mean and variance, with a weight and a bias.
    Layer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    /// Each head by itself, with one weight for all.
    Head,
    /// The whole projection.
    Projection,
}

/// Which layers have a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowRule {
    /// None.
    Never,
    /// All, where `sliding_window` is a number.
    All,
    /// Those from `max_window_layers` on, if `use_sliding_window`; or as `layer_types` says.
    Last,
    /// Every other one, the first too; or as `layer_types` says.
    Alternating,
}

/// Which attention projections have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    /// All or none, as the field `attention_bias` says.
    Field,
    /// None, always.
    Never,
    /// Query, key and value.
    Qkv,
    /// All.
    All,
}

/// What a field of `config.json` means when it is not there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) norm_eps: f64,
    pub(crate) max_position_embeddings: usize,
    pub(crate) tie_word_embeddings: bool,
    /// `None`: hidden_size / num_attention_heads.
    pub(crate) head_dim: Option<usize>,
    /// `None`: as many as query heads.
    pub(crate) num_key_value_heads: Option<usize>,
    pub(crate) hidden_act: Activation,
    pub(crate) sliding_window: usize,
    /// `None`: not a field of the family, head_dim takes its place.
    pub(crate) query_pre_attn_scalar: Option<f64>,
    /// `None`: not a field of the family, there is no cap.
    pub(crate) attn_logit_softcapping: Option<f64>,
    pub(crate) final_logit_softcapping: Option<f64>,
}

/// Where GGUF tensors differ from those of Hugging Face in more than their names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GgufForm {
    /// The rows of query and key are stored so that the two halves of a rotary pair are neighbours.
    pub(crate) interleaved_qk: bool,
}

const LLAMA: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    tensors: TensorNames {
        base: "model.",
        embedding: "embed_tokens",
        positions: None,
        layers: "layers",
        norms: BlockNorms {
            before_attention: Some("input_layernorm"),
            after_attention: None,
            before_mlp: Some("post_attention_layernorm"),
            after_mlp: None,
        },
        qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        attention_out: "self_attn.o_proj",
        mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
        mlp_out: "mlp.down_proj",
        final_norm: "norm",
    },
    fan_in_fan_out: false,
    norm: NormKind::Rms,
    qk_norm: None,
    scale_embedding: false,
    windows: WindowRule::Never,
    attention_bias: AttentionBias::Field,
    mlp_bias: None,
    aliases: &[],
    defaults: Defaults {
        norm_eps: 1e-6,
        max_position_embeddings: 2048,
        tie_word_embeddings: false,
        head_dim: None,
        num_key_value_heads: None,
        hidden_act: Activation::Silu,
        sliding_window: 4096,
        query_pre_attn_scalar: None,
        attn_logit_softcapping: None,
        final_logit_softcapping: None,
    },
    gguf: Some(GgufForm {
        interleaved_qk: true,
    }),
};

/// Llama with a sliding window (v0.1) or none (from v0.2 on). In GGUF files it is called `llama`.
const MISTRAL: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    windows: WindowRule::All,
    attention_bias: AttentionBias::Never,
    mlp_bias: Some(false),
    defaults: Defaults {
        max_position_embeddings: 131_072,
        num_key_value_heads: Some(8),
        ..LLAMA.defaults
    },
    gguf: None,
    ..LLAMA
};

const QWEN2: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    windows: WindowRule::Last,
    attention_bias: AttentionBias::Qkv,
    mlp_bias: Some(false),
    defaults: Defaults {
        max_position_embeddings: 32_768,
        num_key_value_heads: Some(32),
        ..LLAMA.defaults
    },
    gguf: Some(GgufForm {
        interleaved_qk: false,
    }),
    ..LLAMA
};

const QWEN3: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    qk_norm: Some(QkNorm::Head),
    attention_bias: AttentionBias::Field,
    defaults: Defaults {
        head_dim: Some(128),
        ..QWEN2.defaults
    },
    ..QWEN2
};

const OLMO2: Family = Family {
    name: "olmo2",
    class: "Olmo2ForCausalLM",
    tensors: TensorNames {
        norms: BlockNorms {
            before_attention: None,
            after_attention: Some("post_attention_layernorm"),
            before_mlp: None,
            after_mlp: Some("post_feedforward_layernorm"),
        },
        ..LLAMA.tensors
    },
    qk_norm: Some(QkNorm::Projection),
    mlp_bias: Some(false),
    defaults: Defaults {
        norm_eps: 1e-5,
        ..LLAMA.defaults
    },
    gguf: QWEN2.gguf,
    ..LLAMA
};

const GEMMA2: Family = Family {
    name: "gemma2",
    class: "Gemma2ForCausalLM",
    tensors: TensorNames {
        norms: BlockNorms {
            before_attention: Some("input_layernorm"),
            after_attention: Some("post_attention_layernorm"),
            before_mlp: Some("pre_feedforward_layernorm"),
            after_mlp: Some("post_feedforward_layernorm"),
        },
        ..LLAMA.tensors
    },
    norm: NormKind::RmsLessOne,
    scale_embedding: true,
    windows: WindowRule::Alternating,
    mlp_bias: Some(false),
    aliases: &[("hidden_act", "hidden_activation")],
    defaults: Defaults {
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        head_dim: Some(256),
        num_key_value_heads: Some(4),
        hidden_act: Activation::GeluTanh,
        query_pre_attn_scalar: Some(256.0),
        attn_logit_softcapping: Some(50.0),
        final_logit_softcapping: Some(30.0),
        ..LLAMA.defaults
    },
    gguf: QWEN2.gguf,
    ..LLAMA
};

const GPT2: Family = Family {
    name: "gpt2",
    class: "GPT2LMHeadModel",
    tensors: TensorNames {
        base: "transformer.",
        embedding: "wte",
        positions: Some("wpe"),
        layers: "h",
        norms: BlockNorms {
            before_attention: Some("ln_1"),
            after_attention: None,
            before_mlp: Some("ln_2"),
            after_mlp: None,
        },
        qkv: &["attn.c_attn"],
        attention_out: "attn.c_proj",
        mlp_in: &["mlp.c_fc"],
        mlp_out: "mlp.c_proj",
        final_norm: "ln_f",
    },
    fan_in_fan_out: true,
    norm: NormKind::Layer,
    attention_bias: AttentionBias::All,
    mlp_bias: Some(true),
    aliases: &[
        ("hidden_size", "n_embd"),
        ("intermediate_size", "n_inner"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
        ("hidden_act", "activation_function"),
        ("rms_norm_eps", "layer_norm_epsilon"),
    ],
    defaults: Defaults {
        norm_eps: 1e-5,
        max_position_embeddings: 1024,
        tie_word_embeddings: true,
        hidden_act: Activation::GeluTanh,
        ..LLAMA.defaults
    },
    gguf: QWEN2.gguf,
    ..LLAMA
};

static FAMILIES: [Family; 7] = [LLAMA, MISTRAL, QWEN2, QWEN3, OLMO2, GEMMA2, GPT2];

/// The architectures that can be loaded, as `model_type` calls them.
pub(crate) const HF_ARCHITECTURES: &[&str] = &[
    "llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma2", "gpt2",
];

/// The same as `general.architecture` calls them.
pub(crate) const GGUF_ARCHITECTURES: &[&str] =
    &["llama", "qwen2", "qwen3", "olmo2", "gemma2", "gpt2"];

impl Family {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_names_are_those_of_the_table() {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names, HF_ARCHITECTURES);
        let gguf = FAMILIES.iter().filter(|family| family.gguf.is_some());
        let names: Vec<_> = gguf.map(|family| family.name).collect();
        assert_eq!(names, GGUF_ARCHITECTURES);
        assert!(Family::named("bert").is_none());
    }
}
