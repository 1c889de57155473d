use super::builder::GgufBuilder;
use super::{GgufArray, GgufFile, GgufValue, TensorType};
use crate::load_error::LoadError;

fn error(builder: &GgufBuilder) -> LoadError {
    GgufFile::from_bytes(builder.build()).unwrap_err()
}

/// One of everything.
fn sample() -> GgufBuilder {
    let mut builder = GgufBuilder::new();
    builder.alignment = 64;
    builder
        .u32("general.alignment", 64)
        .raw(b"u8", 0, &[200])
        .raw(b"i8", 1, &[0xFF])
        .raw(b"u16", 2, &300_u16.to_le_bytes())
        .raw(b"i16", 3, &(-300_i16).to_le_bytes())
        .raw(b"i32", 5, &(-5_i32).to_le_bytes())
        .raw(b"u64", 10, &u64::MAX.to_le_bytes())
        .raw(b"i64", 11, &i64::MIN.to_le_bytes())
        .raw(b"f64", 12, &0.1_f64.to_le_bytes())
        .f32("f32", 1e-5)
        .boolean("bool", true)
        .text("text", "größe")
        .texts("texts", &["a", ""])
        .i32s("ints", &[1, -2])
        .f32_tensor("matrix", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("halves", &[2], 1, &[0x00, 0x3C, 0x00, 0xC0])
}

#[test]
fn everything_is_read_back() {
    let file = GgufFile::from_bytes(sample().build()).unwrap();
    let expected = [
        ("u8", GgufValue::Unsigned(200)),
        ("i8", GgufValue::Signed(-1)),
        ("u16", GgufValue::Unsigned(300)),
        ("i16", GgufValue::Signed(-300)),
        ("i32", GgufValue::Signed(-5)),
        ("u64", GgufValue::Unsigned(u64::MAX)),
        ("i64", GgufValue::Signed(i64::MIN)),
        ("f64", GgufValue::F64(0.1)),
        ("f32", GgufValue::F32(1e-5)),
        ("bool", GgufValue::Bool(true)),
        ("text", GgufValue::String("größe".into())),
        (
            "texts",
            GgufValue::Array(GgufArray::String(vec!["a".into(), String::new()])),
        ),
        ("ints", GgufValue::Array(GgufArray::Signed(vec![1, -2]))),
    ];
    for (key, value) in expected {
        assert_eq!(file.get(key), Some(&value), "{key}");
    }
    assert_eq!(file.float("f32").unwrap(), Some(1e-5));
    assert_eq!(file.unsigned("absent").unwrap(), None);

    let matrix = file.tensor("matrix").unwrap();
    assert_eq!(matrix.shape, [2, 3]);
    assert_eq!(matrix.tensor_type, TensorType::F32);
    assert_eq!(
        file.read_f32("matrix").unwrap(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    assert_eq!(file.read_f32("halves").unwrap(), [1.0, -2.0]);
    assert!(matches!(
        file.read_f32("absent"),
        Err(LoadError::MissingTensor { tensor, .. }) if tensor == "absent"
    ));
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_the_key() {
    let file = GgufFile::from_bytes(sample().build()).unwrap();
    let errors = [
        file.unsigned("i32").unwrap_err(),
        file.unsigned("text").unwrap_err(),
        file.string("u8").unwrap_err(),
        file.strings("ints").unwrap_err(),
        file.boolean("u8").unwrap_err(),
        file.float("u8").unwrap_err(),
    ];
    let messages = errors.map(|e| e.to_string());
    assert_eq!(messages[0], "test.gguf: i32: expected a count, got -5");
    assert_eq!(
        messages[1],
        "test.gguf: text: expected an integer, got a text"
    );
    assert_eq!(
        messages[3],
        "test.gguf: ints: expected an array of texts, got an array"
    );
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = sample().build();
    for len in 0..bytes.len() {
        let error = GgufFile::from_bytes(bytes[..len].to_vec()).unwrap_err();
        assert!(
            matches!(error, LoadError::Truncated { .. }),
            "{len}: {error}"
        );
    }
    let error = GgufFile::from_bytes(bytes[..bytes.len() - 1].to_vec()).unwrap_err();
    assert!(
        error.to_string().contains("data of tensor `halves`"),
        "{error}"
    );
}

#[test]
fn a_damaged_byte_never_panics() {
    let bytes = sample().build();
    for position in 0..bytes.len() {
        for damage in [0x01, 0x80, 0xFF] {
            let mut bytes = bytes.clone();
            bytes[position] ^= damage;
            if let Ok(file) = GgufFile::from_bytes(bytes) {
                for tensor in file.tensors() {
                    let num_values = tensor.shape.iter().product::<usize>();
                    assert_eq!(file.read_f32(&tensor.name).unwrap().len(), num_values);
                }
            }
        }
    }
}

#[test]
fn hostile_counts_are_refused_before_anything_is_allocated() {
    let mut tensors = GgufBuilder::new();
    tensors.num_tensors = u64::MAX;
    let mut entries = GgufBuilder::new();
    entries.num_entries = 1 << 60;
    let huge = u64::MAX.to_le_bytes();
    let huge_array = [8_u32.to_le_bytes().as_slice(), &(1_u64 << 61).to_le_bytes()].concat();
    let nested = [9_u32.to_le_bytes().as_slice(), &1_u64.to_le_bytes()].concat();
    let cases = [
        (tensors, "tensor_count"),
        (entries, "metadata_kv_count"),
        (GgufBuilder::new().raw(b"long", 8, &huge), "long"),
        (GgufBuilder::new().raw(b"wide", 9, &huge_array), "wide"),
        (
            GgufBuilder::new().raw(b"deep", 9, &nested.repeat(9)),
            "deep",
        ),
        (
            GgufBuilder::new().info("big", &[1 << 40, 1 << 40], 0, 0),
            "tensor `big`",
        ),
        (
            GgufBuilder::new().info("big", &[1 << 40], 0, 0),
            "tensor `big`",
        ),
        (
            GgufBuilder::new().info("far", &[1], 0, u64::MAX - 31),
            "tensor `far`",
        ),
    ];
    for (builder, field) in cases {
        let message = error(&builder).to_string();
        assert!(message.starts_with("test.gguf: "), "{message}");
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut old = GgufBuilder::new();
    old.version = 1;
    let mut big_endian = GgufBuilder::new();
    big_endian.version = 3_u32.swap_bytes();
    let twice = GgufBuilder::new().u32("k", 1).u32("k", 2);
    let cases = [
        (
            old,
            "version: versions 2 and 3 (little-endian) are supported, got 1",
        ),
        (big_endian, "got 50331648"),
        (twice, "k: the key appears twice"),
        (
            GgufBuilder::new().raw(b"k", 13, &[]),
            "k: unknown value type 13",
        ),
        (
            GgufBuilder::new().raw(b"k", 7, &[2]),
            "a truth value must be 0 or 1, got 2",
        ),
        (
            GgufBuilder::new().raw(b"\xFF", 0, &[1]),
            "key of metadata entry 0: invalid utf-8",
        ),
        (
            GgufBuilder::new().u32("general.alignment", 3),
            "expected a power of two",
        ),
        (
            GgufBuilder::new().text("general.alignment", "x"),
            "expected a power of two",
        ),
        (
            GgufBuilder::new().info("t", &[], 0, 0),
            "tensor `t`: 1 to 4 dimensions, got 0",
        ),
        (
            GgufBuilder::new().info("t", &[1; 5], 0, 0),
            "1 to 4 dimensions, got 5",
        ),
        (
            GgufBuilder::new().info("t", &[0], 0, 0),
            "a dimension of size 0",
        ),
        (
            GgufBuilder::new().info("t", &[33], 2, 0),
            "rows of 33 values",
        ),
        (
            GgufBuilder::new()
                .f32_tensor("t", &[9], &[0.0; 9])
                .info("u", &[1], 0, 4),
            "data of tensor `u`: offset 4 is no multiple of 32",
        ),
        (
            GgufBuilder::new()
                .f32_tensor("t", &[1], &[0.0])
                .info("t", &[1], 0, 0),
            "tensor `t`: the name appears twice",
        ),
        (
            GgufBuilder::new().info("t", &[1], 99, 0),
            "tensor `t` has the unsupported type 99",
        ),
    ];
    for (builder, expected) in cases {
        let message = error(&builder).to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
    let message = GgufFile::from_bytes(b"GGML....".to_vec())
        .unwrap_err()
        .to_string();
    assert_eq!(message, "test.gguf: magic: expected `GGUF`, got `GGML`");
    assert!(matches!(
        GgufFile::open("/no/such/file.gguf").unwrap_err(),
        LoadError::Io { .. }
    ));
}

#[test]
fn an_empty_file_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(GgufFile::open(file.path()).is_err());
}
