//! Models written as Hugging Face directories: every family of `fixtures/model_zoo`, and SmolLM2
//! from GGUF with an adapter merged into it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use grsap_core::{Generator, Message, Prompt, SamplingParams, Turn};
use grsap_lora::{LoraConfig, attach, load_adapter, merge};
use grsap_model::{
    ChatModel, Decoder, DecoderConfig, SafetensorsFile, SaveConfig, SaveError, TensorSource,
    WeightDtype,
};

fn zoo(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join("model_zoo").join(case)
}

fn weights(case: &str) -> SafetensorsFile {
    SafetensorsFile::open(zoo(case).join("model.safetensors")).unwrap()
}

fn config(dir: &Path) -> DecoderConfig {
    DecoderConfig::from_hf_file(&dir.join("config.json")).unwrap()
}

fn decoder(case: &str) -> Decoder {
    Decoder::load(&weights(case), &config(&zoo(case)), &Device::flex()).unwrap()
}

fn save_config(dtype: WeightDtype) -> SaveConfig {
    SaveConfig {
        dtype,
        ..SaveConfig::default()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_family_is_written_as_it_was_read() {
    for family in [
        "llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma2", "gpt2",
    ] {
        for (stored, dtype) in [("f32", WeightDtype::F32), ("bf16", WeightDtype::BF16)] {
            let case = format!("{family}_{stored}");
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("model");
            let written = decoder(&case);
            written.save_pretrained(&dir, &save_config(dtype)).unwrap();
            assert_eq!(names(folder.path()), ["model"], "nothing is left behind");
            assert_eq!(config(&dir), *written.config(), "{case}");

            let (original, copy) = (weights(&case), SafetensorsFile::open(&dir).unwrap());
            // That fixture is of the bare model, whose names lack their first part.
            let bare = case == "gpt2_bf16";
            let prefix = if bare { "transformer." } else { "" };
            let mut expected: Vec<String> = original
                .names()
                .into_iter()
                .map(|name| format!("{prefix}{name}"))
                .collect();
            if written.config().tie_word_embeddings {
                expected.retain(|name| name != "lm_head.weight");
            }
            let mut got = copy.names();
            got.sort();
            expected.sort();
            assert_eq!(got, expected, "{case}");
            for name in got {
                let theirs = &name[prefix.len()..];
                assert_eq!(copy.shape(&name), original.shape(theirs), "{case}: {name}");
                let (a, b) = (
                    copy.read_f32(&name).unwrap(),
                    original.read_f32(theirs).unwrap(),
                );
                let off = a
                    .iter()
                    .zip(&b)
                    .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                // Gemma's norms are held with one added.
                let tolerance = if case == "gemma2_f32" && name.contains("norm") {
                    1.2e-7
                } else {
                    0.0
                };
                assert!(off <= tolerance, "{case}: {name} is off by {off:e}");
            }
        }
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (one, many) = (folder.path().join("one"), folder.path().join("many"));
    let decoder = decoder("qwen2_f32");
    decoder
        .save_pretrained(&one, &save_config(WeightDtype::F16))
        .unwrap();
    let small = SaveConfig {
        dtype: WeightDtype::F16,
        max_shard_bytes: 4096,
    };
    decoder.save_pretrained(&many, &small).unwrap();
    let shards: Vec<String> = names(&many);
    let shards = shards.iter().filter(|name| name.ends_with(".safetensors"));
    assert!(shards.clone().count() > 3);
    // Only a single tensor may be larger than a shard.
    for shard in shards {
        let shard = many.join(shard);
        let num_tensors = SafetensorsFile::open(&shard).unwrap().names().len();
        assert!(fs::metadata(&shard).unwrap().len() <= 4096 + 4096 || num_tensors == 1);
    }
    let (one, many) = (
        SafetensorsFile::open(&one).unwrap(),
        SafetensorsFile::open(&many).unwrap(),
    );
    let mut tensors = (one.names(), many.names());
    tensors.0.sort();
    tensors.1.sort();
    assert_eq!(tensors.0, tensors.1);
    for name in tensors.0 {
        assert_eq!(one.read_f32(&name).unwrap(), many.read_f32(&name).unwrap());
    }
}

#[test]
fn what_cannot_be_written_is_an_error_that_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let save = |decoder: &Decoder, dtype| decoder.save_pretrained(&dir, &save_config(dtype));

    let mut adapted = decoder("llama_f32");
    attach(&mut adapted, &LoraConfig::default(), 1).unwrap();
    let error = save(&adapted, WeightDtype::F32).unwrap_err();
    assert!(
        matches!(&error, SaveError::Adapter { projection } if projection == "model.layers.0.self_attn.q_proj"),
        "{error}"
    );
    assert!(names(folder.path()).is_empty());

    // A large adapter, merged: weights beyond f16.
    for (_, projection) in adapted.projections_mut() {
        let mut lora = projection.lora().unwrap().clone();
        lora.b = lora.b.ones_like() * 1e9;
        projection.set_lora(Some(lora)).unwrap();
    }
    merge(&mut adapted);
    let error = save(&adapted, WeightDtype::F16).unwrap_err();
    assert!(
        matches!(error, SaveError::Range { dtype: "F16", .. }),
        "{error}"
    );
    assert!(
        names(folder.path()).is_empty(),
        "{:?}",
        names(folder.path())
    );

    // An empty directory is filled, any other is left alone.
    fs::create_dir(&dir).unwrap();
    save(&adapted, WeightDtype::F32).unwrap();
    let before = names(&dir);
    let error = save(&adapted, WeightDtype::F32).unwrap_err();
    assert!(matches!(error, SaveError::Exists { .. }), "{error}");
    assert_eq!(names(&dir), before);
    assert_eq!(names(folder.path()), ["model"]);
}

#[test]
fn a_merged_smollm2_answers_the_same_when_it_is_loaded_again() {
    let assets = assets::Assets::open(None, Arc::new(())).unwrap();
    let mut model = ChatModel::load(assets.smollm2().unwrap(), &Device::flex()).unwrap();
    let adapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lora_step/adapter");
    load_adapter(model.decoder_mut(), adapter).unwrap();
    merge(model.decoder_mut());

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("smollm2");
    model
        .save_pretrained(&dir, &save_config(WeightDtype::F32))
        .unwrap();
    assert_eq!(
        names(&dir),
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let copy = ChatModel::load(&dir, &Device::flex()).unwrap();
    assert_eq!(copy.decoder().config(), model.decoder().config());
    assert_eq!(copy.tokenizer().eos_ids(), model.tokenizer().eos_ids());
    assert_eq!(copy.tokenizer().pad_id(), model.tokenizer().pad_id());
    let chat = [
        Message::system("You answer in one sentence."),
        Message::user("Was kostet ein Brötchen?  3 Euro 20 — or «less»? 🥨\n\tTell me."),
    ];
    let render = |model: &ChatModel| {
        let template = model.template().unwrap();
        template.render(&chat, Turn::NewAssistant).unwrap()
    };
    assert_eq!(render(&copy), render(&model));
    let prompts = [
        Prompt::chat(chat.clone()),
        Prompt::Text("Once upon a time".into()),
    ];
    for prompt in &prompts {
        assert_eq!(copy.encode(prompt).unwrap(), model.encode(prompt).unwrap());
    }
    let params = SamplingParams::greedy(16);
    assert_eq!(
        copy.generate(&prompts, &params).unwrap(),
        model.generate(&prompts, &params).unwrap()
    );
}
