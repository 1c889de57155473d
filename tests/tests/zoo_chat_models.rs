//! The tiny models of `fixtures/model_zoo` as whole chat models, with a tokenizer and a template:
//! what they generate and score, guards on them, MAUVE's features.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use grsap_core::{
    Embedder, Exchange, Generator, Guard, ModelError, Perplexity, Prompt, Safety, SamplingConfig,
    SamplingParams, cosine,
};
use grsap_model::ChatModel;
use grsap_replay::safety::{GuardFormat, GuardReasoner, LlamaGuard, ModelGuard, WildGuard};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const FAMILIES: [&str; 7] = [
    "llama", "mistral", "qwen2", "qwen3", "olmo2", "gemma2", "gpt2",
];

/// Ids of the tokenizer below.
const BOS: u32 = 1;
const EOS: u32 = 2;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn json<T: DeserializeOwned>(path: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixtures().join(path)).unwrap()).unwrap()
}

/// The text of a token: its id, but for the two special ones.
fn word(id: u32) -> String {
    match id {
        BOS => "<s>".into(),
        EOS => "</s>".into(),
        _ => format!("t{id}"),
    }
}

fn text(ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().copied().map(word).collect();
    words.join(" ")
}

/// A tokenizer of 96 words, apart by blanks. Other words are `t0`.
fn tokenizer() -> serde_json::Value {
    let vocab: serde_json::Map<_, _> = (0..96).map(|id| (word(id), id.into())).collect();
    let special = |id: u32| {
        serde_json::json!({
            "id": id, "content": word(id), "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    };
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(BOS), special(EOS)],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "t0"},
    })
}

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %} t3 {{ m.content }} t4 {% endfor %}";

/// A directory of the zoo with a tokenizer, `config.json` changed by `change`.
fn load(case: &str, add_bos: bool, change: impl Fn(&mut serde_json::Value)) -> ChatModel {
    let dir = tempfile::tempdir().unwrap();
    let case = format!("model_zoo/{case}");
    let weights = fixtures().join(&case).join("model.safetensors");
    std::fs::copy(weights, dir.path().join("model.safetensors")).unwrap();
    let mut config: serde_json::Value = json(&format!("{case}/config.json"));
    change(&mut config);
    let tokens = serde_json::json!({
        "bos_token": word(BOS), "eos_token": word(EOS), "add_bos_token": add_bos,
        "chat_template": TEMPLATE,
    });
    for (name, json) in [
        ("config.json", config),
        ("tokenizer.json", tokenizer()),
        ("tokenizer_config.json", tokens),
    ] {
        std::fs::write(dir.path().join(name), json.to_string()).unwrap();
    }
    ChatModel::load(dir.path(), &Device::flex()).unwrap()
}

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Vec<u32>>,
    mean_nll: Vec<f64>,
    greedy: Vec<Vec<u32>>,
}

/// Directory, engine and scoring together: batches, shared prompts, whole texts.
#[test]
fn chat_models_of_every_family() {
    let stored = |family: &str| ["f32", "bf16"].map(|dtype| format!("{family}_{dtype}"));
    for case in FAMILIES.into_iter().flat_map(stored) {
        let model = load(&case, false, |_| ());
        let expected: Expected = json(&format!("model_zoo/{case}/expected.json"));
        let texts: Vec<String> = expected.sequences.iter().map(|ids| text(ids)).collect();
        let prompts: Vec<Prompt> = texts.iter().cloned().map(Prompt::Text).collect();
        let num_new = expected.greedy[0].len();
        let config = SamplingConfig {
            n: 2,
            ..SamplingConfig::greedy(num_new)
        };
        let params = SamplingParams::new(config).unwrap();
        let answers = model.generate(&prompts, &params).unwrap();
        for (answer, ids) in answers.iter().zip(&expected.greedy) {
            let end = ids.iter().position(|&id| model.tokenizer().is_eos(id));
            let ids = &ids[..end.unwrap_or(ids.len())];
            let shown: Vec<u32> = ids.iter().copied().filter(|&id| id != BOS).collect();
            for completion in &answer.completions {
                assert_eq!(completion.text.trim(), text(&shown), "{case}");
            }
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let perplexities = model.perplexity(&texts).unwrap();
        for (got, mean_nll) in perplexities.iter().zip(&expected.mean_nll) {
            let error = (got / mean_nll.exp() - 1.0).abs();
            assert!(error < 1e-5, "{case}: perplexity off by {error:.1e}");
        }
    }
}

/// What the guard is asked has one BOS, and its verdicts are what its format reads in what the
/// model says. Random weights say nothing that can be read, and that is what is said of it.
fn check_guard(case: &str, format: impl GuardFormat) {
    let model = load(case, true, |config| {
        config["max_position_embeddings"] = 4096.into();
    });
    let exchanges = [("t5 t6", "t7"), ("t8", "t9 t10 t11")]
        .map(|(prompt, response)| Exchange { prompt, response });
    let prompts: Vec<Prompt> = exchanges.iter().map(|e| format.prompt(e)).collect();
    for prompt in &prompts {
        let ids = model.encode(prompt).unwrap();
        assert_eq!(ids[0], BOS, "{case}");
        assert_eq!(ids.iter().filter(|id| **id == BOS).count(), 1, "{case}");
    }
    let answers = model.generate(&prompts, &format.params()).unwrap();
    let expected: Vec<_> = answers
        .iter()
        .map(|answer| format.parse(&answer.completions[0].text))
        .collect();
    let guard = ModelGuard::new(model, format);
    let verdicts = guard.judge(&exchanges).unwrap();
    assert_eq!(verdicts, expected, "{case}");
    for verdict in verdicts {
        assert!(verdict.raw.contains('t'), "{case}: {}", verdict.raw);
        assert_eq!(verdict.response, Safety::Unparsed, "{case}");
    }
}

/// The guards of the method on models of their families: a Mistral without windows, and Llamas with
/// the rotary scaling of 3.1.
#[test]
fn guard_models_are_asked_in_their_formats() {
    check_guard("mistral_bf16", WildGuard::default());
    // As the model card has it, which spells the token out.
    let published = WildGuard::new("<s> <|user|> {prompt} {response} <|assistant|>").unwrap();
    check_guard("mistral_bf16", published);
    check_guard("llama_bf16", LlamaGuard::default());
    check_guard("llama_bf16", GuardReasoner::default());
}

#[derive(Deserialize)]
struct Features {
    max_text_length: usize,
    cases: Vec<FeaturesCase>,
}

#[derive(Deserialize)]
struct FeaturesCase {
    input_ids: Vec<u32>,
    features: Vec<f32>,
}

#[test]
fn features_are_those_of_mauve_text() {
    let fixture: Features = json("mauve_features/features.json");
    assert_eq!(fixture.max_text_length, 1024, "the default there and here");
    let model = load("gpt2_f32", false, |_| ());
    let texts: Vec<String> = fixture.cases.iter().map(|c| text(&c.input_ids)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let got = model.embed(&texts).unwrap();
    assert_eq!(got.len(), texts.len() * model.dim());
    for (case, got) in fixture.cases.iter().zip(got.chunks_exact(model.dim())) {
        assert!((cosine(got, got) - 1.0).abs() < 1e-6);
        for (got, want) in got.iter().zip(&case.features) {
            let length = case.input_ids.len();
            assert!((got - want).abs() < 1e-6, "{length}: {got}, not {want}");
        }
    }
    // A text has the same features in any company, to the bit.
    for (text, together) in texts.iter().zip(got.chunks_exact(model.dim())) {
        assert_eq!(model.embed(&[text]).unwrap(), together);
    }
    assert!(model.embed(&[]).unwrap().is_empty());
    let error = model.embed(&["t5", ""]).unwrap_err();
    assert!(
        matches!(error, ModelError::InvalidInput { index: 1, .. }),
        "{error}"
    );
}
