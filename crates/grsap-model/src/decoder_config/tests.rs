use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{DecoderConfig, RopeScaling};
use crate::gguf::GgufFile;
use crate::gguf::builder::tiny_llama;
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
            rms_norm_eps: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: None,
            max_position_embeddings: 128,
            tie_word_embeddings: true,
            attention_bias: false,
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
        read(&old).unwrap().rope_scaling,
        Some(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        })
    );
    let mut linear = hf_json();
    linear["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    let scaling = read(&linear).unwrap().rope_scaling;
    assert_eq!(scaling, Some(RopeScaling::Linear { factor: 2.0 }));
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
            "rms_norm_eps: must be above 0, got 0",
        ),
        (
            "rope_theta",
            json!(-1.0),
            "rope_theta: must be above 0, got -1",
        ),
        (
            "hidden_act",
            json!("gelu"),
            "hidden_act: expected silu, got gelu",
        ),
        ("mlp_bias", json!(true), "mlp_bias"),
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
        message.ends_with("unknown architecture `mamba`, supported are: llama"),
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
    assert_eq!(config.rms_norm_eps, 1e-5);
    assert!(config.tie_word_embeddings && !config.attention_bias);

    let more = builder()
        .f32_tensor("output.weight", &[5, 8], &embedding)
        .f32_tensor("blk.0.attn_q.bias", &[8], &[0.0; 8])
        .f32_tensor("rope_freqs.weight", &[2], &[1.0, 4.0]);
    let config = read(more.build()).unwrap();
    assert!(!config.tie_word_embeddings && config.attention_bias);
    assert_eq!(
        config.rope_scaling,
        Some(RopeScaling::Factors(vec![1.0, 4.0]))
    );
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

#[test]
fn every_gguf_key_that_is_needed_is_named_when_it_is_missing() {
    let message = DecoderConfig::from_gguf(
        &GgufFile::from_bytes(crate::gguf::builder::GgufBuilder::new().build()).unwrap(),
    )
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
        rope_theta: 1e4,
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
        rope_theta: 5e5,
        rope_scaling: Some(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
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
