//! Model files against the packages that define them: GGUF values.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

use std::path::PathBuf;

use grsap_replay::model::{GgufFile, LoadError, SafetensorsFile, TensorSource as _};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

#[test]
fn gguf_values_are_those_of_the_gguf_package_in_every_bit() {
    let expected = SafetensorsFile::open(fixture("gguf_dequant/expected.safetensors")).unwrap();
    let mut num_tensors = 0;
    let mut seen = std::collections::HashSet::new();
    for (name, prefix) in [
        ("types", ""),
        ("alignment_64", "odd."),
        ("extremes", "extreme."),
    ] {
        let file = GgufFile::open(fixture(&format!("gguf_dequant/{name}.gguf"))).unwrap();
        for tensor in file.tensors() {
            let name = format!("{prefix}{}", tensor.name);
            assert_eq!(
                expected.shape(&name).as_ref(),
                Some(&tensor.shape),
                "{name}"
            );
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let got = bits(file.read_f32(&tensor.name).unwrap());
            assert!(got == bits(expected.read_f32(&name).unwrap()), "{name}");
            num_tensors += 1;
            if prefix == "extreme." {
                seen.insert(tensor.tensor_type);
            }
        }
    }
    assert_eq!(num_tensors, expected.names().len());
    assert_eq!(seen.len(), 13, "every storage type is there");
}

/// Version 2 has the same layout; the package's script checked that it reads it alike.
#[test]
fn version_2_of_the_format_holds_the_same() {
    let path = fixture("gguf_dequant/types.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[4..8], 3_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&2_u32.to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let older = dir.path().join("version_2.gguf");
    std::fs::write(&older, bytes).unwrap();
    let (newer, older) = (GgufFile::open(path), GgufFile::open(older));
    let (newer, older) = (newer.unwrap(), older.unwrap());
    assert_eq!(older.tensors().len(), 13);
    for tensor in older.tensors() {
        let bits = |file: &GgufFile| -> Vec<u32> {
            let values = file.read_f32(&tensor.name).unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        assert!(bits(&older) == bits(&newer), "{}", tensor.name);
    }
}

#[test]
fn a_tensor_type_that_is_not_read_is_named() {
    let error = GgufFile::open(fixture("gguf_dequant/iq4_nl.gguf")).unwrap_err();
    assert!(matches!(
        error,
        LoadError::UnsupportedTensorType { tensor, tensor_type, .. }
            if tensor == "iq4_nl" && tensor_type == "20"
    ));
}
