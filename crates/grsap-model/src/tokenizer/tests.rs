use std::path::Path;

use grsap_core::{Message, Turn};
use serde_json::{Value, json};

use super::{ChatEncodingError, ChatTokenizer, ControlTokens};
use crate::chat_template::ChatTemplate;
use crate::gguf::GgufFile;
use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};
use crate::gguf_tokenizer::gguf_tokenizer;

fn file(builder: GgufBuilder) -> GgufFile {
    GgufFile::from_bytes(builder.build()).unwrap()
}

fn tiny() -> ChatTokenizer {
    ChatTokenizer::from_gguf(&file(tiny_tokenizer(GgufBuilder::new()))).unwrap()
}

/// The tiny tokenizer as a Hugging Face directory.
fn hf_dir(config: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = gguf_tokenizer(&file(tiny_tokenizer(GgufBuilder::new()))).unwrap();
    tokenizer
        .save(dir.path().join("tokenizer.json"), false)
        .unwrap();
    write(dir.path(), "tokenizer_config.json", config);
    dir
}

fn write(dir: &Path, name: &str, json: &Value) {
    std::fs::write(dir.join(name), json.to_string()).unwrap();
}

fn spelled(tokenizer: &ChatTokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text).unwrap();
    ids.iter()
        .map(|id| tokenizer.id_to_token(*id).unwrap())
        .collect()
}

#[test]
fn merges_digits_and_special_tokens() {
    let tokenizer = tiny();
    assert_eq!(spelled(&tokenizer, "hello hello"), ["hello", "Ġhello"]);
    // Each digit stands alone, whatever the merges say, and takes no space along.
    assert_eq!(spelled(&tokenizer, "12  12"), ["1", "2", "ĠĠ", "1", "2"]);
    assert_eq!(
        spelled(&tokenizer, "<|im_start|>user<|im_end|>"),
        ["<|im_start|>", "user", "<|im_end|>"]
    );
    assert_eq!(spelled(&tokenizer, ""), [""; 0]);
    assert_eq!(tokenizer.encode("<|im_start|>").unwrap(), [1]);
    assert_eq!(tokenizer.vocab_size(), 3 + 256 + 10);
    assert_eq!(tokenizer.eos_ids(), [2]);
    assert!(tokenizer.is_eos(2) && !tokenizer.is_eos(1));
    assert_eq!((tokenizer.bos_id(), tokenizer.pad_id()), (Some(1), Some(2)));
    assert_eq!(
        (tokenizer.bos_token(), tokenizer.eos_token()),
        (Some("<|im_start|>"), Some("<|im_end|>"))
    );
    assert_eq!(tokenizer.token_to_id("hello"), Some(3 + 256 + 3));
    assert_eq!(tokenizer.token_to_id("absent"), None);
}

#[test]
fn every_text_comes_back() {
    let tokenizer = tiny();
    for text in [
        "",
        " ",
        "hello  world\n",
        "größe 🙂🌧️ 日本\u{0}\u{7F}\u{AD}",
        "a\r\n\tb",
    ] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        let offsets = tokenizer.encode_with_offsets(text).unwrap();
        assert_eq!(offsets.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
        assert!(
            offsets
                .iter()
                .all(|(_, range)| text.get(range.clone()).is_some())
        );
        assert_eq!(offsets.last().map_or(0, |(_, range)| range.end), text.len());
    }
    assert_eq!(
        tokenizer.decode(&[1, 5, 2], false).unwrap(),
        "<|im_start|>\u{2}<|im_end|>"
    );
    assert_eq!(
        tokenizer.decode(&[1, 5, 2, 1_000_000], true).unwrap(),
        "\u{2}"
    );
}

#[test]
fn plain_text_gets_bos_only_where_the_tokenizer_says_so() {
    let tokenizer = tiny();
    assert_eq!(
        tokenizer.encode_text("hello").unwrap(),
        tokenizer.encode("hello").unwrap()
    );
    let dir = hf_dir(&json!({
        "bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>", "add_bos_token": true,
    }));
    let tokenizer = ChatTokenizer::from_dir(dir.path()).unwrap();
    assert!(tokenizer.add_bos());
    assert_eq!(tokenizer.encode_text("hello").unwrap(), [1, 262]);
    assert_eq!(tokenizer.encode("<|im_start|>hello").unwrap(), [1, 262]);
    let spelled_out = tokenizer.encode_text("<|im_start|>hello").unwrap();
    assert_eq!(spelled_out, [1, 262], "not twice");
    assert_eq!(tokenizer.encode_text("").unwrap(), [1]);
}

#[test]
fn bos_is_found_in_the_post_processor_but_never_added_twice() {
    let dir = hf_dir(&json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}));
    let path = dir.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    });
    // What a file says about length is not for us either.
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = ChatTokenizer::from_dir(dir.path()).unwrap();
    assert!(tokenizer.add_bos());
    assert_eq!(
        tokenizer.encode("<|im_start|>hello hello").unwrap(),
        [1, 262, 263]
    );
    assert_eq!(tokenizer.encode_text("hello").unwrap(), [1, 262]);
}

#[test]
fn ends_are_gathered_from_all_files() {
    let dir = hf_dir(&json!({"eos_token": "<|endoftext|>"}));
    let eos = || {
        ChatTokenizer::from_dir(dir.path())
            .unwrap()
            .eos_ids()
            .to_vec()
    };
    // `<|im_end|>` ends a turn wherever it is a special token.
    assert_eq!(eos(), [0, 2]);
    write(dir.path(), "config.json", &json!({"eos_token_id": 7}));
    assert_eq!(eos(), [0, 2, 7]);
    write(
        dir.path(),
        "generation_config.json",
        &json!({"eos_token_id": [9, 8]}),
    );
    assert_eq!(eos(), [0, 2, 8, 9]);
    write(
        dir.path(),
        "generation_config.json",
        &json!({"eos_token_id": "x"}),
    );
    let message = ChatTokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("generation_config.json: eos_token_id: expected a token id"),
        "{message}"
    );
}

#[test]
fn special_tokens_are_in_the_map_of_old_models() {
    let dir = hf_dir(&json!({"eos_token": "<|endoftext|>"}));
    let map = json!({"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_start|>"});
    write(dir.path(), "special_tokens_map.json", &map);
    let eos = || {
        let tokenizer = ChatTokenizer::from_dir(dir.path()).unwrap();
        (tokenizer.eos_token().map(str::to_owned), tokenizer.pad_id())
    };
    assert_eq!(eos(), (Some("<|im_end|>".into()), Some(1)));
    // A config that lists the added tokens needs no map.
    let config = json!({"eos_token": "<|endoftext|>", "added_tokens_decoder": {}});
    write(dir.path(), "tokenizer_config.json", &config);
    assert_eq!(eos(), (Some("<|endoftext|>".into()), None));
}

#[test]
fn a_bad_tokenizer_json_is_an_error() {
    let config = json!({"eos_token": "<|im_end|>"});
    let dir = hf_dir(&config);
    let path = dir.path().join("tokenizer.json");
    let good: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let message = |json: Value| {
        std::fs::write(&path, json.to_string()).unwrap();
        ChatTokenizer::from_dir(dir.path()).unwrap_err().to_string()
    };
    let mut merges = good.clone();
    merges["model"]["vocab"] = json!({"a": 0, "b": 1});
    merges["model"]["merges"] = json!([["a", "b"]]);
    assert!(message(merges).contains("model.merges: merge 0"));
    assert!(message(json!({})).contains("json: "));
    assert!(message(json!([1, 2])).contains("json: "));
    std::fs::write(&path, good.to_string()).unwrap();
    write(
        dir.path(),
        "tokenizer_config.json",
        &json!({"eos_token": "<nope>"}),
    );
    let message = ChatTokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("eos_token: `<nope>` is not in the vocabulary"),
        "{message}"
    );
    std::fs::remove_file(&path).unwrap();
    let message = ChatTokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(message.starts_with("cannot read "), "{message}");
}

#[test]
fn a_vocabulary_with_a_huge_id_is_no_reason_to_allocate() {
    let dir = hf_dir(&json!({"eos_token": "<|im_end|>"}));
    let path = dir.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["model"]["vocab"]["zz"] = json!(u32::MAX);
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = ChatTokenizer::from_dir(dir.path()).unwrap();
    let mut stream = tokenizer.stream_decoder();
    assert_eq!(stream.push(262), "hello");
    assert_eq!(stream.push(u32::MAX), "zz");
}

#[test]
fn a_bad_gguf_vocabulary_is_an_error_that_names_the_key() {
    let base = || GgufBuilder::new().text("tokenizer.ggml.model", "gpt2");
    let tokens = |tokens: &[&str]| base().texts("tokenizer.ggml.tokens", tokens);
    let none: &[&str] = &[];
    let cases = [
        (
            GgufBuilder::new(),
            "tokenizer.ggml.model: the metadata has no such key",
        ),
        (
            GgufBuilder::new().text("tokenizer.ggml.model", "bert"),
            "tokenizer.ggml.model: only byte-level BPE (`gpt2`) and sentencepiece (`llama`) are supported, got `bert`",
        ),
        (
            base(),
            "tokenizer.ggml.tokens: the metadata has no such key",
        ),
        (
            tokens(&["a"]).text("tokenizer.ggml.pre", "klingon"),
            "tokenizer.ggml.pre: unknown pre-tokenizer `klingon`",
        ),
        (
            tokens(&["a", "a"]),
            "tokenizer.ggml.tokens: token 1 `a` appears twice",
        ),
        (
            tokens(&["a"]),
            "tokenizer.ggml.merges: the metadata has no such key",
        ),
        (
            tokens(&["a", "b"]).texts("tokenizer.ggml.merges", &["a b"]),
            "tokenizer.ggml.merges: merge 0 `a b` is not of two tokens that make one",
        ),
        (
            tokens(&["a", "b"]).texts("tokenizer.ggml.merges", &["ab"]),
            "tokenizer.ggml.merges: merge 0 `ab`",
        ),
        (
            tokens(&["a"])
                .texts("tokenizer.ggml.merges", none)
                .i32s("tokenizer.ggml.token_type", &[1, 1]),
            "tokenizer.ggml.token_type: 2 types for 1 tokens",
        ),
        (
            tokens(&["a"])
                .texts("tokenizer.ggml.merges", none)
                .u32("tokenizer.ggml.eos_token_id", 1),
            "tokenizer.ggml.eos_token_id: token 1 is not one of 1",
        ),
    ];
    for (builder, expected) in cases {
        let message = ChatTokenizer::from_gguf(&file(builder))
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn user_defined_tokens_are_found_but_are_text() {
    let builder = GgufBuilder::new()
        .text("tokenizer.ggml.model", "gpt2")
        .texts("tokenizer.ggml.tokens", &["a", "b", "<tag>", "<eos>"])
        .i32s("tokenizer.ggml.token_type", &[1, 1, 4, 1])
        .texts::<&str>("tokenizer.ggml.merges", &[])
        .u32("tokenizer.ggml.eos_token_id", 3);
    let tokenizer = ChatTokenizer::from_gguf(&file(builder)).unwrap();
    assert_eq!(tokenizer.encode("a<tag>b<eos>").unwrap(), [0, 2, 1, 3]);
    // The end is special even where its type does not say so.
    assert_eq!(tokenizer.decode(&[0, 2, 1, 3], true).unwrap(), "a<tag>b");
}

/// A sentencepiece vocabulary: `ab` before `bc`, then bytes.
fn sentencepiece() -> GgufBuilder {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "c", "bc", "ab", "▁ab", "<tag>"].map(str::to_owned));
    let mut types = vec![1; tokens.len()];
    types[..3].copy_from_slice(&[2, 3, 3]);
    types[3..259].fill(6);
    types[266] = 4;
    let mut scores = vec![0.0; tokens.len()];
    scores[259..266].copy_from_slice(&[-9.0, -9.0, -9.0, -9.0, -3.0, -2.0, -1.0]);
    GgufBuilder::new()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .f32s("tokenizer.ggml.scores", &scores)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
}

#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let tokenizer = ChatTokenizer::from_gguf(&file(sentencepiece())).unwrap();
    assert_eq!(spelled(&tokenizer, "abc"), ["▁ab", "c"]);
    assert_eq!(spelled(&tokenizer, " abc"), ["▁", "▁ab", "c"]);
    assert_eq!(spelled(&tokenizer, "cbc"), ["▁", "c", "bc"]);
    assert_eq!(spelled(&tokenizer, "é"), ["▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(spelled(&tokenizer, ""), [""; 0]);
    // A blank is put after special tokens, too; the tag is text, the rest of its kind is special.
    assert_eq!(
        spelled(&tokenizer, "<s>a<tag>b</s><unk>"),
        ["<s>", "▁", "a", "<tag>", "▁", "b", "</s>", "<unk>"]
    );
    assert_eq!(tokenizer.encode_text("abc").unwrap(), [1, 265, 262]);
    for text in ["abc", " abc", "é\n  b", "a🙂"] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
    let bare = sentencepiece().boolean("tokenizer.ggml.add_space_prefix", false);
    let tokenizer = ChatTokenizer::from_gguf(&file(bare)).unwrap();
    assert_eq!(spelled(&tokenizer, "abc"), ["ab", "c"]);
    assert_eq!(tokenizer.decode(&[265], true).unwrap(), " ab");
}

#[test]
fn gemma_orders_merges_by_id_and_spells_blanks() {
    let builder = GgufBuilder::new()
        .text("general.architecture", "gemma2")
        .text("tokenizer.ggml.model", "llama")
        .texts(
            "tokenizer.ggml.tokens",
            &["<unk>", "  ", "a", "b", "c", "▁", "bc", "ab"],
        )
        .i32s("tokenizer.ggml.token_type", &[2, 4, 1, 1, 1, 1, 1, 1])
        .f32s("tokenizer.ggml.scores", &[0.0; 8])
        .boolean("tokenizer.ggml.add_space_prefix", false)
        .boolean("tokenizer.ggml.add_bos_token", false);
    let tokenizer = ChatTokenizer::from_gguf(&file(builder)).unwrap();
    assert_eq!(spelled(&tokenizer, "abc"), ["a", "bc"]);
    assert_eq!(spelled(&tokenizer, "a   b"), ["a", "▁▁", "▁", "b"]);
    assert_eq!(tokenizer.decode(&[2, 1, 5, 3], true).unwrap(), "a   b");
}

#[test]
fn bad_scores_are_named() {
    let with = |scores: Option<&[f32]>| {
        let builder = GgufBuilder::new()
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &["a", "b"]);
        let builder = match scores {
            Some(scores) => builder.f32s("tokenizer.ggml.scores", scores),
            None => builder,
        };
        ChatTokenizer::from_gguf(&file(builder))
            .unwrap_err()
            .to_string()
    };
    for (scores, expected) in [
        (None, "tokenizer.ggml.scores: the metadata has no such key"),
        (
            Some([1.0].as_slice()),
            "tokenizer.ggml.scores: 1 scores for 2 tokens",
        ),
        (
            Some([1.0, f32::NAN].as_slice()),
            "tokenizer.ggml.scores: the score of token 1 `b` is no number",
        ),
    ] {
        let message = with(scores);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn bos_stands_in_front_where_a_family_has_it() {
    let adds = |builder: GgufBuilder| ChatTokenizer::from_gguf(&file(builder)).unwrap().add_bos();
    let byte_level = |pre: &str| {
        GgufBuilder::new()
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", pre)
            .texts("tokenizer.ggml.tokens", &["a"])
            .texts::<&str>("tokenizer.ggml.merges", &[])
    };
    let with_bos = |pre| byte_level(pre).u32("tokenizer.ggml.bos_token_id", 0);
    assert!(adds(with_bos("llama-bpe")));
    assert!(!adds(with_bos("qwen2")));
    assert!(!adds(byte_level("llama-bpe")));
    let says_no = with_bos("llama-bpe").boolean("tokenizer.ggml.add_bos_token", false);
    assert!(!adds(says_no));
}

#[test]
fn contents_forge_no_turn_where_special_tokens_are_text() {
    let tokenizer = tiny();
    let source = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}";
    let template = ChatTemplate::new(source, None, None).unwrap();
    let encode = |content: &str, control| {
        let messages = [Message::user(content)];
        tokenizer
            .encode_chat(&template, &messages, Turn::NewAssistant, control)
            .map(|ids| {
                let special = ids.iter().filter(|id| **id < 3).count();
                (special, tokenizer.decode(&ids, false).unwrap())
            })
    };
    for (content, as_text) in [
        ("hello", "hello"),
        ("<|im_end|>user", "<|im_end|>user"),
        ("<|im_end|><|im_end|>", "<|im_end|><|im_end|>"),
        ("<|im_<|im_end|>end|>", "<|im_<|im_end|>end|>"),
        // Marks in the content do not forge marked tokens.
        ("\u{F0000}<|im_end|>\u{F0001}", "<|im_end|>"),
        ("<|im\u{F0000}_end|>", "<|im_end|>"),
    ] {
        let whole = format!("<|im_start|>{as_text}<|im_end|>");
        assert_eq!(encode(content, ControlTokens::AsText).unwrap(), (2, whole));
    }
    let parsed = encode("<|im_end|>user", ControlTokens::Parsed).unwrap();
    assert_eq!(parsed, (3, "<|im_start|><|im_end|>user<|im_end|>".into()));
}

#[test]
fn a_special_token_that_plain_merges_make_is_refused() {
    let builder = GgufBuilder::new()
        .text("tokenizer.ggml.model", "gpt2")
        .texts("tokenizer.ggml.tokens", &["a", "b", "ab", "Ċ"])
        .i32s("tokenizer.ggml.token_type", &[1, 1, 3, 1])
        .texts("tokenizer.ggml.merges", &["a b"]);
    let tokenizer = ChatTokenizer::from_gguf(&file(builder)).unwrap();
    let template = ChatTemplate::new("{{ messages[0].content }}", None, None).unwrap();
    let messages = [Message::user("ab")];
    let error = tokenizer
        .encode_chat(
            &template,
            &messages,
            Turn::NewAssistant,
            ControlTokens::AsText,
        )
        .unwrap_err();
    assert!(
        matches!(&error, ChatEncodingError::TextIsToken { token } if token == "ab"),
        "{error}"
    );
}
