//! Directories and files of weights, from the outside: how much memory loading takes, and what is
//! said when the tensors are not those of the model.

// A failure here is the message, and one test prints its figures for another.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use burn::tensor::Device;
use grsap_model::{
    ChatModel, Decoder, DecoderConfig, LoadError, SafetensorsFile, TensorSource as _, WeightFormat,
};
use serde_json::{Value, json};

const MODEL: &str = "GRSAP_TEST_MODEL";
/// Set where the weights are to be held in bf16.
const BF16: &str = "GRSAP_TEST_BF16";

/// `config.json` of a Llama of about 135 million weights.
fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 16,
        "max_position_embeddings": 128, "tie_word_embeddings": true,
    })
}

fn tiny_config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 128, "tie_word_embeddings": true,
    })
}

/// The tensors that such a configuration asks for.
fn tensors(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |name: &str| config[name].as_u64().unwrap() as usize;
    let (hidden, mlp) = (size("hidden_size"), size("intermediate_size"));
    let kv = hidden / size("num_attention_heads") * size("num_key_value_heads");
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".into(),
            vec![size("vocab_size"), hidden],
        ),
        ("model.norm.weight".into(), vec![hidden]),
    ];
    for layer in 0..size("num_hidden_layers") {
        for (part, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![mlp, hidden]),
            ("mlp.up_proj", vec![mlp, hidden]),
            ("mlp.down_proj", vec![hidden, mlp]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    tensors
}

/// Writes a safetensors file without holding it in memory. The values repeat.
fn write_shard(path: &Path, dtype: &str, tensors: &[(String, Vec<usize>)]) {
    let width = if dtype == "F32" { 4 } else { 2 };
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * width;
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // 1.0 in single precision; 0.0 and 1.0 in bf16.
    let values = [0x00, 0x00, 0x80, 0x3F].repeat(1 << 18);
    while end > 0 {
        let len = end.min(values.len());
        file.write_all(&values[..len]).unwrap();
        end -= len;
    }
}

fn write_config(dir: &Path, config: &Value) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// Two shards and their index.
fn write_sharded(dir: &Path, dtype: &str, config: &Value) {
    let tensors = tensors(config);
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (name, part) in [("one", first), ("two", second)] {
        let name = format!("{name}.safetensors");
        write_shard(&dir.join(&name), dtype, part);
        map.extend(
            part.iter()
                .map(|(tensor, _)| (tensor.clone(), name.clone().into())),
        );
    }
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
    write_config(dir, config);
}

fn load_dir(dir: &Path) -> Result<Decoder, LoadError> {
    load_dir_as(dir, WeightFormat::F32)
}

fn load_dir_as(dir: &Path, format: WeightFormat) -> Result<Decoder, LoadError> {
    let config = DecoderConfig::from_hf_file(&dir.join("config.json"))?;
    Decoder::load_as(
        &SafetensorsFile::open(dir)?,
        &config,
        &Device::flex(),
        format,
    )
}

/// The weights of a decoder, in bytes as they are held.
fn held(decoder: &Decoder) -> usize {
    let projections = decoder.projections().map(|(_, p)| p.weight().num_bytes());
    projections.sum::<usize>() + decoder.head_weight().num_bytes()
}

/// The child process of the test below: loads the model that the variable names and prints what is
/// held and the most that was resident. Does nothing where the variable is missing.
#[test]
#[cfg(target_os = "linux")]
fn load_in_this_process() {
    let Some(path) = std::env::var_os(MODEL) else {
        return;
    };
    let path = Path::new(&path);
    let format = match std::env::var_os(BF16) {
        Some(_) => WeightFormat::Bf16,
        None => WeightFormat::F32,
    };
    let held = if path.is_dir() {
        held(&load_dir_as(path, format).unwrap())
    } else {
        let model = ChatModel::load_as(path, &Device::flex(), format).unwrap();
        held(model.decoder())
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: usize = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    println!("memory {held} {}", peak * 1024);
}

/// The most memory that was resident (`VmHWM`: everything, pages of mapped files and the program
/// itself too) over the weights as held.
#[cfg(target_os = "linux")]
fn peak_over_held(path: &Path, format: WeightFormat) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "load_in_this_process", "--nocapture"]);
    command.env(MODEL, path);
    if format == WeightFormat::Bf16 {
        command.env(BF16, "1");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("memory "));
    let Some((_, numbers)) = line else {
        panic!("{text}{}", String::from_utf8_lossy(&output.stderr));
    };
    let numbers: Vec<f64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
    println!(
        "{}: held {} B, peak {} B, {:.3}",
        path.display(),
        numbers[0],
        numbers[1],
        numbers[1] / numbers[0]
    );
    assert!(numbers[0] > 2e8, "{numbers:?}");
    numbers[1] / numbers[0]
}

#[test]
#[cfg(target_os = "linux")]
fn loading_takes_little_more_than_the_weights() {
    let smollm2 = assets::Assets::open(None, Arc::new(()))
        .unwrap()
        .smollm2()
        .unwrap();
    for format in [WeightFormat::F32, WeightFormat::Bf16] {
        let ratio = peak_over_held(&smollm2, format);
        assert!(ratio <= 1.3, "GGUF in {format:?}: {ratio}");
    }

    let dir = tempfile::tempdir().unwrap();
    let config = config();
    write_config(dir.path(), &config);
    for dtype in ["BF16", "F16"] {
        write_shard(
            &dir.path().join("model.safetensors"),
            dtype,
            &tensors(&config),
        );
        for format in [WeightFormat::F32, WeightFormat::Bf16] {
            let ratio = peak_over_held(dir.path(), format);
            assert!(ratio <= 1.3, "{dtype} in {format:?}: {ratio}");
        }
    }
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    write_sharded(dir.path(), "F32", &config);
    let ratio = peak_over_held(dir.path(), WeightFormat::F32);
    assert!(ratio <= 1.3, "F32, two shards: {ratio}");
}

#[test]
fn all_wrong_tensors_are_listed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_config();
    write_config(dir.path(), &config);
    let right = tensors(&config);
    let weights = dir.path().join("model.safetensors");
    let error = |tensors: &[(String, Vec<usize>)]| {
        write_shard(&weights, "F32", tensors);
        load_dir(dir.path()).unwrap_err()
    };

    let mut tensors = right.clone();
    tensors.retain(|(name, _)| !name.ends_with("k_proj.weight") && name != "model.norm.weight");
    tensors[0].1.reverse();
    tensors.push(("model.layers.0.self_attn.q_norm.weight".into(), vec![4]));
    tensors.push((
        "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
        vec![2],
    ));
    let error_message = error(&tensors).to_string();
    assert_eq!(
        error_message,
        format!(
            "{}: 2 tensors missing: model.layers.0.self_attn.k_proj.weight, model.norm.weight; \
             1 tensor unexpected: model.layers.0.self_attn.q_norm.weight; \
             1 tensor misshapen: model.embed_tokens.weight [8, 16] instead of [16, 8]",
            weights.display()
        )
    );

    // A tensor of no values; the type of another is looked at when it is read.
    let mut empty = right.clone();
    empty[1].1 = vec![0];
    let LoadError::Tensors { problems, .. } = error(&empty) else {
        panic!("an empty tensor was taken");
    };
    assert_eq!(
        (&problems.misshapen[0].got, problems.missing.len()),
        (&vec![0], 0)
    );

    // Far more layers than any file has, from a file of some bytes.
    let mut many = config.clone();
    many["num_hidden_layers"] = 4_000.into();
    write_config(dir.path(), &many);
    let message = error(&right).to_string();
    assert!(
        message.contains("at least 4097 tensors missing"),
        "{message}"
    );
}

#[test]
fn a_tied_head_may_be_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_config();
    write_config(dir.path(), &config);
    let mut tensors = tensors(&config);
    tensors.push(("lm_head.weight".into(), vec![16, 8]));
    let weights = dir.path().join("model.safetensors");
    write_shard(&weights, "F32", &tensors);
    // Equal values are tied.
    assert!(load_dir(dir.path()).unwrap().config().tie_word_embeddings);

    // Others are not, as in transformers.
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&2_f32.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let decoder = load_dir(dir.path()).unwrap();
    assert!(!decoder.config().tie_word_embeddings);
    let head = decoder
        .head_weight()
        .to_tensor()
        .into_data()
        .try_into_vec::<f32>()
        .unwrap();
    assert_eq!(head[16 * 8 - 1], 2.0);
}

#[test]
fn a_damaged_directory_is_an_error_that_names_the_file() {
    let config = tiny_config();
    let all = tensors(&config);
    let single = "model.safetensors";
    let index = "model.safetensors.index.json";
    let header = |json: &str| {
        [
            &(json.len() as u64).to_le_bytes(),
            json.as_bytes(),
            &[0; 16],
        ]
        .concat()
    };
    let tensor =
        |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
    let named = |a: &str, b: &str| header(&format!(r#"{{"a":{},"b":{}}}"#, tensor(a), tensor(b)));
    let twice = header(&format!(
        r#"{{"a":{},"a":{}}}"#,
        tensor("[0,8]"),
        tensor("[8,16]")
    ));
    let headers = [
        (Vec::new(), "an empty file"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "a header longer than any file",
        ),
        (
            1000_u64.to_le_bytes().to_vec(),
            "a header longer than the file",
        ),
        (header("{"), "a header that is no JSON"),
        (header("[]"), "a header that is no object"),
        (named("[0,8]", "[4,12]"), "overlapping tensors"),
        (
            named("[0,8]", "[8,24]"),
            "a tensor that ends behind the file",
        ),
        (
            named("[8,16]", "[24,16]"),
            "a tensor that ends before it starts",
        ),
        (
            named("[0,8]", "[18446744073709551608,0]"),
            "offsets that overflow",
        ),
        (twice, "a name that appears twice"),
        (
            header(r#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#),
            "an unknown type",
        ),
        (
            header(
                r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#,
            ),
            "a shape that overflows",
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), &config);
    for (bytes, what) in headers {
        std::fs::write(dir.path().join(single), bytes).unwrap();
        let error = SafetensorsFile::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(single), "{what}: {error}");
    }

    // Values that cannot be weights.
    for (dtype, expected) in [
        ("I16", "unsupported type I16"),
        ("F64", "unsupported type F64"),
    ] {
        let width = if dtype == "F64" { 8 } else { 2 };
        let json = format!(
            r#"{{"a":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[0,16]}}}}"#,
            16 / width
        );
        std::fs::write(dir.path().join(single), header(&json)).unwrap();
        let file = SafetensorsFile::open(dir.path()).unwrap();
        let message = file.read_f32("a").unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    write_shard(&dir.path().join(single), "F32", &all);
    let mut bytes = std::fs::read(dir.path().join(single)).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(dir.path().join(single), bytes).unwrap();
    let message = load_dir(dir.path()).unwrap_err().to_string();
    let expected = "tensor `model.layers.0.mlp.down_proj.weight` has the value NaN at index 95";
    assert!(message.ends_with(expected), "{message}");
    std::fs::remove_file(dir.path().join(single)).unwrap();

    // Shards and their index.
    write_sharded(dir.path(), "BF16", &config);
    load_dir(dir.path()).unwrap();
    let original: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join(index)).unwrap()).unwrap();
    let changed = |tensor: &str, shard: Value| {
        let mut json = original.clone();
        json["weight_map"][tensor] = shard;
        std::fs::write(dir.path().join(index), json.to_string()).unwrap();
        load_dir(dir.path()).unwrap_err().to_string()
    };
    let norm = "model.norm.weight";
    for (shard, expected) in [
        (json!("three.safetensors"), "three.safetensors"),
        (
            json!("two.safetensors"),
            "two.safetensors: no tensor `model.norm.weight`",
        ),
        (json!("../one.safetensors"), "is not a file name"),
        (json!("/etc/hostname"), "is not a file name"),
        (json!(".."), "is not a file name"),
        (json!(""), "is not a file name"),
        (json!(null), "expected a file name"),
    ] {
        let message = changed(norm, shard);
        assert!(message.contains(expected), "{message}");
    }
    // In the shard, but not in the index: the tensor is there all the same.
    let mut json = original.clone();
    json["weight_map"].as_object_mut().unwrap().remove(norm);
    std::fs::write(dir.path().join(index), json.to_string()).unwrap();
    load_dir(dir.path()).unwrap();
    // A tensor in both shards.
    std::fs::write(dir.path().join(index), original.to_string()).unwrap();
    write_shard(&dir.path().join("two.safetensors"), "BF16", &all);
    let message = load_dir(dir.path()).unwrap_err().to_string();
    assert!(message.contains("is in another shard too"), "{message}");
}
