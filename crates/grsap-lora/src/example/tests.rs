use grsap_core::Message;
use grsap_data::{Mixture, Record};
use grsap_model::{ChatTemplate, ChatTokenizer};
use serde_json::json;

use super::*;

const TEMPLATE: &str = "{% for m in messages %}{{ '<s> ' + m.role + ' ' + m.content + ' </s> ' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<s> assistant ' }}{% endif %}";

/// One token for each word.
fn tokenizer() -> ChatTokenizer {
    let words = ["<unk>", "<s>", "</s>", "user", "assistant", "a", "b", "c"];
    let vocab: serde_json::Map<String, serde_json::Value> = words
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect();
    let special = |id: usize| {
        json!({"id": id, "content": words[id], "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0), special(1), special(2)],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, json: serde_json::Value| {
        std::fs::write(dir.path().join(name), json.to_string()).unwrap();
    };
    write("tokenizer.json", tokenizer);
    write(
        "tokenizer_config.json",
        json!({"eos_token": "</s>", "bos_token": "<s>"}),
    );
    ChatTokenizer::from_dir(dir.path()).unwrap()
}

fn encode(config: SftConfig, records: &[Record]) -> Result<Vec<SftExample>, SftError> {
    let template = ChatTemplate::new(TEMPLATE, Some("<s>"), Some("</s>")).unwrap();
    let tokenizer = tokenizer();
    SftEncoder::new(&template, &tokenizer, config)?.encode(records)
}

fn exchange() -> Record {
    Record::exchange("a b", "c a")
}

/// Tokens: `<s> user a b </s> <s> assistant c a </s>`.
const IDS: [u32; 10] = [1, 3, 5, 6, 2, 1, 4, 7, 5, 2];

#[test]
fn the_loss_is_over_what_the_assistant_writes() {
    let examples = encode(SftConfig::default(), &[exchange().with_id("x")]).unwrap();
    assert_eq!(examples[0].input_ids(), IDS);
    assert_eq!(examples[0].id(), Some("x"));
    let targets: Vec<(usize, u32)> = examples[0].targets().collect();
    assert_eq!(targets, [(7, 7), (8, 5), (9, 2)]);
}

#[test]
fn the_whole_sequence_is_an_option() {
    let config = SftConfig {
        loss_scope: LossScope::WholeSequence,
        ..SftConfig::default()
    };
    let examples = encode(config.clone(), &[exchange()]).unwrap();
    assert_eq!(examples[0].num_targets(), 9);
    assert!(!examples[0].is_target()[0]);
    let alone = Record::new([Message::user("a")]);
    assert_eq!(encode(config, &[alone]).unwrap()[0].num_targets(), 3);
}

#[test]
fn long_examples_are_cut() {
    let config = |max_length| SftConfig {
        max_length,
        ..SftConfig::default()
    };
    let cut = |max_length| encode(config(max_length), &[exchange()]);
    assert_eq!(cut(10).unwrap()[0].input_ids(), IDS);
    let example = &cut(8).unwrap()[0];
    assert_eq!(example.input_ids(), &IDS[..8]);
    assert_eq!(example.num_targets(), 1);
    let error = cut(7).unwrap_err().to_string();
    assert_eq!(
        error,
        "example 0: the first target is token 7, beyond max_length 7"
    );
    assert!(matches!(cut(1), Err(SftError::MaxLength { max_length: 1 })));
}

#[test]
fn an_example_without_a_target_is_named() {
    let user_only = Record::new([Message::user("a b")]);
    let error = encode(SftConfig::default(), &[exchange(), user_only.clone()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "example 1: none of its 5 tokens is a target"
    );
    let error = encode(SftConfig::default(), &[user_only.with_id("q7")]).unwrap_err();
    assert!(
        error.to_string().starts_with("example 0 (id q7): "),
        "{error}"
    );
    let error = encode(SftConfig::default(), &[Record::new([])]).unwrap_err();
    assert!(matches!(error, SftError::Encode { .. }), "{error}");
}

#[test]
fn a_mixture_is_in_groups() {
    let template = ChatTemplate::new(TEMPLATE, Some("<s>"), Some("</s>")).unwrap();
    let tokenizer = tokenizer();
    let encoder = SftEncoder::new(&template, &tokenizer, SftConfig::default()).unwrap();
    let replay = Record::exchange("b", "a");
    let mixture = Mixture::new(vec![exchange(), exchange()], vec![replay], 0);
    let examples = encoder.encode_mixture(&mixture).unwrap();
    let count = |group| examples.iter().filter(|e| e.group() == Some(group)).count();
    assert_eq!((count("task"), count("replay")), (2, 1));
}
