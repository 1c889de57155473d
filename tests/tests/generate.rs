//! `examples/generate.rs` as a user runs it: its JSON, and what it says about bad input.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

fn smollm2() -> PathBuf {
    assets::Assets::open(None, Arc::new(()))
        .unwrap()
        .smollm2()
        .unwrap()
}

/// What the program prints, or what it says where it fails.
fn generate(model: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(grsap_tests::example("generate"))
        .args(["--prompt", "Name three rivers.", "--model"])
        .arg(model)
        .args(args)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        // A panic is 101.
        Some(1) => Err(text(output.stderr)),
        code => Err(format!("ended with {code:?}: {}", text(output.stderr))),
    }
}

#[test]
fn json_is_one_object_with_what_was_asked_for() {
    let args = [
        "--continue",
        "Three rivers are",
        "--system",
        "Be brief.",
        "--n",
        "2",
        "--seed",
        "7",
        "--max-new-tokens",
        "6",
        "--json",
    ];
    let run = || -> Value {
        let text = generate(&smollm2(), &args).unwrap();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let speed = object["tokens_per_second"].take();
        assert!(speed.as_f64().unwrap() > 0.0);
        object
    };
    let object = run();
    assert_eq!(object.as_object().unwrap().len(), 3, "{object}");
    assert!(object["prompt_tokens"].as_u64().unwrap() > 10);
    let completions = object["completions"].as_array().unwrap();
    assert_eq!(completions.len(), 2);
    assert_ne!(completions[0]["text"], completions[1]["text"]);
    for completion in completions {
        assert_eq!(completion.as_object().unwrap().len(), 3, "{completion}");
        assert!(completion["num_tokens"].as_u64().unwrap() <= 6);
        let reason = completion["finish_reason"].as_str().unwrap();
        assert!(["eos", "length"].contains(&reason), "{completion}");
    }
    assert_eq!(run(), object, "the same seed");

    let text = generate(&smollm2(), &["--greedy", "--max-new-tokens", "3"]).unwrap();
    assert!(
        text.contains("--- 3 tokens, ended by length limit"),
        "{text}"
    );
    assert!(text.contains("tokens/s"), "{text}");
}

/// A directory of the zoo with a tokenizer, and a template that raises.
fn raising(folder: &Path) {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/model_zoo/llama_f32");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(zoo.join(file), folder.join(file)).unwrap();
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
    });
    let config = json!({"chat_template": "{{ raise_exception('no rivers here') }}"});
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}

#[test]
fn bad_models_are_errors_that_name_the_file_and_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let fails = |model: &Path, expected: &str| {
        let message = generate(model, &["--max-new-tokens", "2"]).unwrap_err();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    };
    fails(&folder.join("none.gguf"), "none.gguf");
    let whole = std::fs::read(smollm2()).unwrap();
    std::fs::write(folder.join("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    fails(&folder.join("cut.gguf"), "cut.gguf: data of tensor `blk.");
    std::fs::write(folder.join("no.gguf"), "no model").unwrap();
    fails(&folder.join("no.gguf"), "no.gguf: magic: expected `GGUF`");

    raising(folder);
    fails(
        folder,
        "the chat template refused the messages: no rivers here",
    );
    let path = folder.join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"llama\"", "\"mamba\"")).unwrap();
    fails(folder, "config.json: unknown architecture `mamba`");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.join("model.safetensors"), "cut").unwrap();
    fails(folder, "model.safetensors: header");
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    fails(
        folder,
        "no model.safetensors or model.safetensors.index.json",
    );
}

/// Before the model is looked for.
#[test]
fn parameters_out_of_range_are_named() {
    for (args, expected) in [
        (
            ["--temperature", "-1"],
            "temperature must be finite and at least 0, got -1",
        ),
        (
            ["--temperature", "nan"],
            "temperature must be finite and at least 0, got NaN",
        ),
        (["--top-p", "1.5"], "top_p must be in (0, 1], got 1.5"),
        (["--top-p", "-0.5"], "top_p must be in (0, 1], got -0.5"),
        (["--top-k", "0"], "top_k must be at least 1, got 0"),
        (["--n", "0"], "n must be at least 1, got 0"),
        (
            ["--max-new-tokens", "0"],
            "max_new_tokens must be at least 1, got 0",
        ),
        (["--stop", ""], "stop must be non-empty texts"),
        (["--device", "abacus"], "no device `abacus` in this build"),
    ] {
        let message = generate(Path::new("nowhere"), &args).unwrap_err();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}
