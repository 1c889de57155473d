//! A tiny BERT with CLS pooling against sentence-transformers: `fixtures/bert_cls`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use grsap_core::Embedder;
use grsap_model::SentenceEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bert_cls")
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    embedding: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(fixture().join("embeddings.json")).unwrap();
    serde_json::from_str::<Cases>(&text).unwrap().cases
}

/// The largest difference from the fixture, all texts in one batch.
fn error(encoder: &SentenceEncoder) -> f32 {
    let cases = cases();
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let got = encoder.embed(&texts).unwrap();
    let expected: Vec<f32> = cases
        .iter()
        .flat_map(|case| &case.embedding)
        .copied()
        .collect();
    assert_eq!(got.len(), expected.len());
    let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    off.fold(0.0, f32::max)
}

/// The fixture's model with other files of settings.
fn with_files(files: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture().join("model").join(file), dir.path().join(file)).unwrap();
    }
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    for (file, json) in files {
        std::fs::write(dir.path().join(file), json.to_string()).unwrap();
    }
    dir
}

#[test]
fn cls_pooling() {
    let encoder = SentenceEncoder::load(fixture().join("model"), &Device::flex()).unwrap();
    let error = error(&encoder);
    assert!(error < 1e-6, "off by {error:.1e}");
}

#[test]
fn files_of_both_generations() {
    let pooling = "1_Pooling/config.json";
    let length = ("sentence_bert_config.json", json!({"max_seq_length": 24}));
    let flags = |cls: bool| {
        json!({"word_embedding_dimension": 32, "pooling_mode_cls_token": cls,
        "pooling_mode_mean_tokens": !cls, "pooling_mode_max_tokens": false})
    };
    let load = |dir: &tempfile::TempDir| SentenceEncoder::load(dir.path(), &Device::flex());
    let old = with_files(&[(pooling, flags(true)), length.clone()]);
    assert!(error(&load(&old).unwrap()) < 1e-6);
    // The settings matter: other pooling, another length.
    let mean = with_files(&[(pooling, flags(false)), length.clone()]);
    assert!(error(&load(&mean).unwrap()) > 1e-2);
    let longer = with_files(&[(pooling, flags(true))]);
    assert!(error(&load(&longer).unwrap()) > 1e-2);

    for json in [
        json!({"pooling_mode": "max"}),
        json!({"pooling_mode": ["cls", "mean"]}),
        json!({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}),
        json!({}),
    ] {
        let dir = with_files(&[(pooling, json.clone())]);
        let message = load(&dir).unwrap_err().to_string();
        assert!(
            message.contains("pooling_mode: must be mean or cls"),
            "{json}: {message}"
        );
    }
}

#[test]
fn positions_of_another_kind_are_refused() {
    let dir = with_files(&[]);
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["position_embedding_type"] = "relative_key".into();
    std::fs::write(&path, config.to_string()).unwrap();
    let error = SentenceEncoder::load(dir.path(), &Device::flex()).unwrap_err();
    let message = error.to_string();
    assert!(
        message
            .ends_with("position_embedding_type: `relative_key` is not supported, only `absolute`")
    );
}
