use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Activation, DecoderConfig, RopeConfig, RopeScaling};
use crate::gguf::GgufFile;
use crate::gguf::builder::{GgufBuilder, tiny_llama};
use crate::load_error::LoadError;

fn hf_json() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 128,
        "tie_word_embeddings": true, "hidden_act": "silu", "rope_scaling": null,
    })
}

fn read(json: &Value) -> Result<DecoderConfig, LoadError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.to_string().as_bytes()).unwrap();
    DecoderConfig::from_hf_file(file.path())
}

fn scaling(config: &DecoderConfig) -> Option<RopeScaling> {
    config.rope.as_ref().unwrap().scaling.clone()
}

fn config() -> DecoderConfig {
    read(&hf_json()).unwrap()
}

#[test]
fn config_json() {
    assert_eq!(
        config(),
        DecoderConfig {
            architecture: "llama".into(),
            vocab_size: 100,
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            norm_eps: 1e-5,
            rope: Some(RopeConfig {
                theta: 500_000.0,
                scaling: None,
            }),
            max_position_embeddings: 128,
            hidden_act: Activation::Silu,
            tie_word_embeddings: true,
            qkv_bias: false,
            attention_out_bias: false,
            mlp_bias: false,
            query_pre_attn_scalar: 8.0,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            sliding_windows: Vec::new(),
        }
    );
}

#[test]
fn rotary_settings_of_both_generations_of_transformers() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let mut old = hf_json();
    old["rope_scaling"] = llama3.clone();
    let mut new = hf_json();
    new["rope_parameters"] = llama3;
    new["rope_parameters"]["rope_theta"] = new["rope_theta"].take();
    assert_eq!(read(&old).unwrap(), read(&new).unwrap());
    assert_eq!(
        scaling(&read(&old).unwrap()),
        Some(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        })
    );
    let mut linear = hf_json();
    linear["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    let linear = scaling(&read(&linear).unwrap());
    assert_eq!(linear, Some(RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn a_wrong_field_is_named() {
    let cases = [
        (
            "hidden_size",
            json!(null),
            "hidden_size: the field is missing",
        ),
        (
            "hidden_size",
            json!("x"),
            "hidden_size: expected a count, got \"x\"",
        ),
        (
            "hidden_size",
            json!(-1),
            "hidden_size: expected a count, got -1",
        ),
        (
            "hidden_size",
            json!(33),
            "num_attention_heads: 4 does not divide hidden_size 33",
        ),
        ("num_attention_heads", json!(0), "num_attention_heads"),
        (
            "num_key_value_heads",
            json!(3),
            "num_key_value_heads: 3 does not divide",
        ),
        (
            "num_key_value_heads",
            json!(0),
            "num_key_value_heads: must be 1 to",
        ),
        ("head_dim", json!(7), "head_dim: must be even, got 7"),
        ("vocab_size", json!(1_u64 << 40), "vocab_size: must be 1 to"),
        (
            "rms_norm_eps",
            json!(0.0),
            "norm_eps: must be above 0, got 0",
        ),
        (
            "rope_theta",
            json!(-1.0),
            "rope_theta: must be above 0, got -1",
        ),
        (
            "hidden_act",
            json!("relu"),
            "hidden_act: expected silu, gelu, gelu_new or gelu_pytorch_tanh, got relu",
        ),
        (
            "num_hidden_layers",
            json!(1_u64 << 20),
            "num_hidden_layers: must be 1 to 4096",
        ),
        (
            "sliding_window",
            json!(4),
            "sliding_window: 4 is not supported",
        ),
        (
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "layer_types: [\"full_attention\",\"sliding_attention\"] is not supported",
        ),
        (
            "layer_types",
            json!(["full_attention"]),
            "layer_types: 1 for 2 layers",
        ),
        (
            "layer_types",
            json!(["full_attention", "chunked_attention"]),
            "layer_types: \"chunked_attention\" is not supported",
        ),
        (
            "attn_logit_softcapping",
            json!(50.0),
            "attn_logit_softcapping: 50 is not supported",
        ),
        (
            "quantization_config",
            json!({"quant_method": "gptq"}),
            "quantization_config",
        ),
        (
            "partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor: 0.5 is not supported",
        ),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "rope_parameters.full_attention: settings for each kind",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "partial_rotary_factor": 0.25}),
            "rope_parameters.partial_rotary_factor: 0.25 is not supported",
        ),
        (
            "rope_scaling",
            json!("yarn"),
            "rope_scaling: expected an object, got \"yarn\"",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "yarn"}),
            "rope_type: unsupported",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear"}),
            "rope_scaling.factor: the field is missing",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 0.0}),
            "rope_scaling: values out",
        ),
    ];
    for (field, value, expected) in cases {
        let mut json = hf_json();
        json[field] = value;
        let message = read(&json).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
    assert!(
        matches!(read(&json!([])), Err(LoadError::Invalid { field, .. }) if field == "model_type")
    );
}

/// The fields in which the families differ, with the defaults of their configuration classes.
#[test]
fn families() {
    let with = |family: &str, fields: Value| {
        let mut json = hf_json();
        json["model_type"] = family.into();
        for name in [
            "hidden_act",
            "tie_word_embeddings",
            "max_position_embeddings",
        ] {
            json.as_object_mut().unwrap().remove(name);
        }
        for (name, value) in fields.as_object().unwrap() {
            json[name] = value.clone();
        }
        read(&json)
    };
    let mistral = |fields| with("mistral", fields).unwrap().sliding_windows;
    assert_eq!(mistral(json!({})), [Some(4096); 2], "v0.1, by default");
    assert_eq!(mistral(json!({"sliding_window": 7})), [Some(7); 2]);
    assert!(mistral(json!({"sliding_window": null})).is_empty(), "v0.3");

    let qwen2 = with(
        "qwen2",
        json!({"sliding_window": 9, "use_sliding_window": false}),
    );
    let qwen2 = qwen2.unwrap();
    assert!(qwen2.qkv_bias && !qwen2.attention_out_bias && !qwen2.tie_word_embeddings);
    assert!(qwen2.sliding_windows.is_empty());
    let window = json!({"sliding_window": 9, "use_sliding_window": true, "max_window_layers": 1});
    let qwen3 = with("qwen3", window).unwrap();
    assert_eq!(qwen3.sliding_windows, [None, Some(9)]);
    assert_eq!((qwen3.head_dim, qwen3.qkv_bias), (128, false));
    let qwen3 = with("qwen3", json!({"head_dim": null, "attention_bias": true})).unwrap();
    assert!(qwen3.head_dim == 8 && qwen3.qkv_bias && qwen3.attention_out_bias);

    let gemma2 = with("gemma2", json!({"head_dim": 16})).unwrap();
    assert_eq!(gemma2.hidden_act, Activation::GeluTanh);
    assert_eq!(gemma2.sliding_windows, [Some(4096), None]);
    assert_eq!(gemma2.query_pre_attn_scalar, 256.0);
    assert_eq!(gemma2.attn_logit_softcapping, Some(50.0));
    assert!(gemma2.tie_word_embeddings);
    let types = json!({
        "layer_types": ["full_attention", "sliding_attention"], "sliding_window": 3,
        "final_logit_softcapping": null, "attn_logit_softcapping": 20,
        "hidden_activation": "gelu",
    });
    let gemma2 = with("gemma2", types).unwrap();
    assert_eq!(gemma2.sliding_windows, [None, Some(3)]);
    assert_eq!(gemma2.final_logit_softcapping, None);
    assert_eq!(gemma2.attn_logit_softcapping, Some(20.0));
    assert_eq!(gemma2.hidden_act, Activation::Gelu);

    let gpt2 = json!({
        "model_type": "gpt2", "vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "n_positions": 64, "layer_norm_epsilon": 1e-3, "activation_function": "gelu_new",
    });
    let config = read(&gpt2).unwrap();
    assert_eq!((config.intermediate_size, config.norm_eps), (128, 1e-3));
    assert!(config.rope.is_none() && config.inv_freq().is_empty() && config.mlp_bias);
    assert_eq!(config.num_key_value_heads, 4);

    let message = |family: &str, fields| with(family, fields).unwrap_err().to_string();
    for (family, fields, expected) in [
        (
            "mistral",
            json!({"attention_bias": true}),
            "attention_bias: true is not",
        ),
        (
            "qwen2",
            json!({"attention_bias": false}),
            "attention_bias: false is not",
        ),
        (
            "qwen3",
            json!({"mlp_bias": true}),
            "mlp_bias: true is not supported",
        ),
        (
            "mistral",
            json!({"sliding_window": 0}),
            "sliding_window: must be above 0",
        ),
        (
            "mistral",
            json!({"sliding_window": "x"}),
            "sliding_window: expected a count",
        ),
        (
            "gemma2",
            json!({"query_pre_attn_scalar": -1}),
            "query_pre_attn_scalar: must be",
        ),
        (
            "gemma2",
            json!({"use_bidirectional_attention": true}),
            "use_bidirectional_attention",
        ),
    ] {
        let message = message(family, fields);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
    for (name, value) in [
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("scale_attn_weights", json!(false)),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 2.0}),
        ),
    ] {
        let mut gpt2 = gpt2.clone();
        gpt2[name] = value;
        let message = read(&gpt2).unwrap_err().to_string();
        assert!(message.contains(&format!("{name}: ")), "{message}");
    }
}

#[test]
fn an_unknown_architecture_is_named_with_the_known_ones() {
    let mut json = hf_json();
    json["model_type"] = "mamba".into();
    let error = read(&json).unwrap_err();
    assert!(
        matches!(&error, LoadError::UnknownArchitecture { architecture, .. } if architecture == "mamba")
    );
    let message = error.to_string();
    assert!(
        message.ends_with("unknown architecture `mamba`, supported are: llama, mistral, qwen2, qwen3, olmo2, gemma2, gpt2"),
        "{message}"
    );
}

#[test]
fn gguf_metadata() {
    let embedding = [0.0; 5 * 8];
    let builder = || tiny_llama().f32_tensor("token_embd.weight", &[5, 8], &embedding);
    let read = |bytes| DecoderConfig::from_gguf(&GgufFile::from_bytes(bytes).unwrap());
    let config = read(builder().build()).unwrap();
    assert_eq!((config.vocab_size, config.head_dim), (5, 4));
    assert_eq!(config.norm_eps, 1e-5);
    assert!(config.tie_word_embeddings && !config.qkv_bias);

    let more = builder()
        .f32_tensor("output.weight", &[5, 8], &embedding)
        .f32_tensor("blk.0.attn_q.bias", &[8], &[0.0; 8])
        .f32_tensor("rope_freqs.weight", &[2], &[1.0, 4.0]);
    let config = read(more.build()).unwrap();
    assert!(!config.tie_word_embeddings && config.qkv_bias && !config.attention_out_bias);
    assert_eq!(scaling(&config), Some(RopeScaling::Factors(vec![1.0, 4.0])));
    assert_eq!(config.inv_freq(), [1.0, 0.01 / 4.0]);

    let message = read(tiny_llama().build()).unwrap_err().to_string();
    assert_eq!(message, "test.gguf: no tensor `token_embd.weight`");
    let yarn = builder()
        .f32("llama.rope.scaling.factor", 2.0)
        .text("llama.rope.scaling.type", "yarn");
    let message = read(yarn.build()).unwrap_err().to_string();
    assert!(
        message.contains("unsupported rotary scaling `yarn`"),
        "{message}"
    );
    let factors = builder().f32_tensor("rope_freqs.weight", &[3], &[1.0; 3]);
    assert!(
        read(factors.build())
            .unwrap_err()
            .to_string()
            .contains("rope_scaling")
    );
    let heads = tiny_llama()
        .u32("llama.attention.key_length", 3)
        .f32_tensor("token_embd.weight", &[5, 8], &embedding);
    assert!(
        read(heads.build())
            .unwrap_err()
            .to_string()
            .contains("head_dim")
    );
}

/// What a GGUF file says that the decoder would not compute.
#[test]
fn gguf_metadata_that_is_not_supported() {
    let builder = || tiny_llama().f32_tensor("token_embd.weight", &[5, 8], &[0.0; 40]);
    let read = |bytes| DecoderConfig::from_gguf(&GgufFile::from_bytes(bytes).unwrap());
    let message = |builder: GgufBuilder| read(builder.build()).unwrap_err().to_string();
    assert_eq!(
        message(builder().u32("llama.expert_count", 8)),
        "test.gguf: llama.expert_count: 8 is not supported"
    );
    assert!(read(builder().u32("llama.expert_count", 0).build()).is_ok());
    assert_eq!(
        message(builder().f32("llama.logit_scale", 0.5)),
        "test.gguf: llama.logit_scale: 0.5 is not supported"
    );
    assert_eq!(
        message(builder().f32("llama.attn_logit_softcapping", 30.0)),
        "test.gguf: llama.attn_logit_softcapping: 30 is not supported"
    );
    assert_eq!(
        message(builder().u32("llama.attention.value_length", 6)),
        "test.gguf: llama.attention.value_length: 6 is not supported with heads of width 4"
    );
    let partial = builder().u32("llama.attention.key_length", 4);
    assert_eq!(
        message(partial.u32("llama.rope.dimension_count", 2)),
        "test.gguf: llama.rope.dimension_count: 2 is not supported with heads of width 4"
    );
    assert!(message(builder().text("llama.rope.scaling.type", "yarn")).contains("yarn"));
    let pattern = builder().u32("llama.attention.sliding_window_pattern", 4);
    assert!(message(pattern).contains("sliding_window_pattern"));
    // Mistral goes by the name of Llama.
    let windowed = read(builder().u32("llama.attention.sliding_window", 3).build());
    assert_eq!(windowed.unwrap().sliding_windows, [Some(3)]);
    let mistral = GgufBuilder::new().text("general.architecture", "mistral");
    assert!(message(mistral).ends_with(
        "unknown architecture `mistral`, supported are: llama, qwen2, qwen3, olmo2, gemma2, gpt2"
    ));
}

#[test]
fn every_gguf_key_that_is_needed_is_named_when_it_is_missing() {
    let message =
        DecoderConfig::from_gguf(&GgufFile::from_bytes(GgufBuilder::new().build()).unwrap())
            .unwrap_err()
            .to_string();
    assert_eq!(
        message,
        "test.gguf: general.architecture: the metadata has no such key"
    );
}

/// Against numpy, in single precision, with the formulas of transformers.
#[test]
fn inverse_frequencies() {
    let close = |got: Vec<f32>, expected: [f32; 8]| {
        for (got, expected) in got.into_iter().zip(expected) {
            assert!(
                (got - expected).abs() <= 2e-7 * expected,
                "{got} {expected}"
            );
        }
    };
    let plain = DecoderConfig {
        head_dim: 16,
        rope: Some(RopeConfig {
            theta: 1e4,
            scaling: None,
        }),
        ..config()
    };
    close(
        plain.inv_freq(),
        [
            1.0,
            0.316_227_76,
            0.1,
            0.031_622_78,
            0.01,
            0.003_162_277_9,
            0.001,
            0.000_316_227_76,
        ],
    );
    let llama3 = DecoderConfig {
        head_dim: 16,
        rope: Some(RopeConfig {
            theta: 5e5,
            scaling: Some(RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            }),
        }),
        ..config()
    };
    llama3.validate(Path::new("x")).unwrap();
    close(
        llama3.inv_freq(),
        [
            1.0,
            0.193_922_76,
            0.037_606_03,
            0.007_292_665,
            0.000_524_846,
            3.428_102_4e-5,
            6.647_870_6e-6,
            1.289_173_2e-6,
        ],
    );
}
