//! The models that the method names, at their full size, from their configurations alone: the
//! tensors that are asked for are those that transformers would have written.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is the message

use std::path::Path;

use burn::tensor::Device;
use grsap_core::digest_hex;
use grsap_model::{Decoder, DecoderConfig, LoadError, MisshapenTensor, TensorSource};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: serde_json::Value,
    num_parameters: usize,
    num_tensors: usize,
    tensors_sha256: String,
    inv_freq: Vec<f32>,
    windows: Vec<Option<usize>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/named_models/models.json");
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    fixture.cases
}

/// A file that has any tensor that it is asked for, but in no shape that a model wants.
struct Misshapen {
    has_head: bool,
}

impl TensorSource for Misshapen {
    fn path(&self) -> &Path {
        Path::new("model.safetensors")
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        (self.has_head || name != "lm_head.weight").then(Vec::new)
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        panic!("{name} is read before the shapes are checked")
    }
}

/// All tensors that a model asks for.
fn asked(config: &DecoderConfig) -> Vec<MisshapenTensor> {
    let file = Misshapen {
        has_head: !config.tie_word_embeddings,
    };
    match Decoder::load(&file, config, &Device::flex()).unwrap_err() {
        LoadError::Tensors { problems, .. } => {
            assert!(problems.missing.is_empty() && !problems.is_cut);
            problems.misshapen
        }
        other => panic!("{other}"),
    }
}

#[test]
fn tensors_of_the_named_models_are_those_of_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let name = &case.name;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, case.config.to_string()).unwrap();
        let config = DecoderConfig::from_hf_file(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.architecture, case.config["model_type"], "{name}");

        // Sorted by name, there as here.
        let tensors = asked(&config);
        let sizes = tensors.iter().map(|t| t.expected.iter().product::<usize>());
        let counts = (tensors.len(), sizes.sum());
        assert_eq!(counts, (case.num_tensors, case.num_parameters), "{name}");
        let lines: String = tensors
            .iter()
            .map(|t| format!("{} {:?}\n", t.tensor, t.expected))
            .collect();
        assert_eq!(digest_hex(lines.as_bytes()), case.tensors_sha256, "{name}");

        let inv_freq = config.inv_freq();
        assert_eq!(inv_freq.len(), case.inv_freq.len(), "{name}");
        for (got, want) in inv_freq.iter().zip(&case.inv_freq) {
            assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got}, not {want}");
        }
        let windows = (0..config.num_hidden_layers).map(|layer| config.sliding_window(layer));
        assert!(windows.eq(case.windows), "{name}");
    }
}
