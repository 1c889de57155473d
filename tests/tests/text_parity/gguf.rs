//! Tokenizers from GGUF metadata against the files that they were made from.

use std::path::Path;
use std::sync::Arc;

use grsap_core::{Message, Turn};
use grsap_model::{
    ChatTemplate, ChatTokenizer, ControlTokens, GgufArray, GgufFile, GgufValue, TrainingTokens,
};
use serde::Deserialize;

use super::assets::{Assets, Family};
use super::builder::GgufBuilder;
use super::{Cases, ChatCase, Expected, TextCases, check_stream, fixture};

/// A GGUF file with nothing but the metadata.
fn gguf(builder: &GgufBuilder) -> GgufFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), builder.build()).unwrap();
    GgufFile::open(file.path()).unwrap()
}

/// Token types of the format.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// The vocabulary of a `tokenizer.json`, as llama.cpp's converter writes it.
fn gguf_vocabulary(json: &serde_json::Value) -> (Vec<String>, Vec<i32>) {
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let added = json["added_tokens"].as_array().unwrap();
    let ids = vocab.values().chain(added.iter().map(|token| &token["id"]));
    let size = ids.map(|id| id.as_u64().unwrap()).max().unwrap() as usize + 1;
    let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![5; size];
    for (token, id) in vocab {
        let id = id.as_u64().unwrap() as usize;
        let is_byte = token.starts_with("<0x") && token.len() == 6;
        types[id] = if is_byte { BYTE } else { NORMAL };
        tokens[id] = token.clone();
    }
    for token in added {
        let id = token["id"].as_u64().unwrap() as usize;
        let text = token["content"].as_str().unwrap();
        types[id] = match token["special"].as_bool().unwrap() {
            _ if text == "<unk>" => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        tokens[id] = match types[id] {
            USER_DEFINED => text.replace('▁', " "),
            _ => text.to_owned(),
        };
    }
    (tokens, types)
}

fn gguf_merges(json: &serde_json::Value) -> Vec<String> {
    let merges = json["model"]["merges"].as_array().unwrap();
    let text = |merge: &serde_json::Value| match merge.as_array() {
        Some(pair) => format!(
            "{} {}",
            pair[0].as_str().unwrap(),
            pair[1].as_str().unwrap()
        ),
        None => merge.as_str().unwrap().to_owned(),
    };
    merges.iter().map(text).collect()
}

#[test]
fn gguf_tokenizers_are_those_of_the_tokenizer_json() {
    let assets = Assets::open(None, Arc::new(())).unwrap();
    for (family, name, pre) in [
        (Family::Llama3_1, "llama3_1", "llama-bpe"),
        (Family::Qwen2_5, "qwen2_5", "qwen2"),
        (Family::Qwen3, "qwen3", "qwen2"),
        (Family::Gemma3, "gemma3", ""),
    ] {
        let path = assets.tokenizer(family).unwrap().join("tokenizer.json");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let (tokens, types) = gguf_vocabulary(&json);
        let builder = GgufBuilder::new()
            .texts("tokenizer.ggml.tokens", &tokens)
            .i32s("tokenizer.ggml.token_type", &types);
        let builder = if name == "gemma3" {
            builder
                .text("general.architecture", "gemma3")
                .text("tokenizer.ggml.model", "llama")
                .f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()])
                .boolean("tokenizer.ggml.add_space_prefix", false)
                .u32("tokenizer.ggml.bos_token_id", 2)
                .u32("tokenizer.ggml.unknown_token_id", 3)
        } else {
            builder
                .text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", pre)
                .texts("tokenizer.ggml.merges", &gguf_merges(&json))
        };
        let tokenizer = ChatTokenizer::from_gguf(&gguf(&builder)).unwrap();
        let fixture: TextCases = fixture(&format!("{name}_texts.json"));
        for case in &fixture.cases {
            let ids = tokenizer.encode(&case.text).unwrap();
            assert_eq!(ids, case.input_ids, "{name} {:?}", case.text);
            let text = case.decoded.as_ref().unwrap_or(&case.text);
            assert_eq!(&tokenizer.decode(&ids, false).unwrap(), text, "{name}");
            check_stream(name, &tokenizer, &ids);
        }
        let cases: Cases<ChatCase> = super::fixture(&format!("{name}.json"));
        let mut num_prompts = 0;
        for case in &cases.cases {
            if let (Some(Expected::Text { text }), Some(ids)) = (&case.prompt, &case.input_ids) {
                assert_eq!(
                    &tokenizer.encode(text).unwrap(),
                    ids,
                    "{name} {}",
                    case.chat
                );
                num_prompts += 1;
            }
        }
        assert!(num_prompts > 80, "{name}: {num_prompts}");
    }
}

/// What transformers makes of SmolLM2's file, whose pre-tokenizer it takes for GPT-2's.
#[derive(Deserialize)]
struct Gpt2Case {
    text: String,
    input_ids: Vec<u32>,
    transformers_input_ids: Option<Vec<u32>>,
}

#[test]
fn the_pre_tokenizer_decides_between_smollm_and_gpt_2() {
    let assets = Assets::open(None, Arc::new(())).unwrap();
    let file = GgufFile::open(assets.smollm2().unwrap()).unwrap();
    let strings = |key: &str| file.strings(key).unwrap().unwrap().to_vec();
    let builder = GgufBuilder::new()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &strings("tokenizer.ggml.tokens"))
        .texts("tokenizer.ggml.merges", &strings("tokenizer.ggml.merges"));
    let types = match file.get("tokenizer.ggml.token_type").unwrap() {
        GgufValue::Array(GgufArray::Signed(types)) => types.iter().map(|t| *t as i32).collect(),
        other => panic!("{other:?}"),
    };
    let types: Vec<i32> = types;
    let tokenizer = builder.i32s("tokenizer.ggml.token_type", &types);
    let tokenizer = ChatTokenizer::from_gguf(&gguf(&tokenizer)).unwrap();
    let cases: Cases<Gpt2Case> = fixture("smollm2_texts.json");
    let mut num_different = 0;
    for case in cases.cases {
        num_different += usize::from(case.transformers_input_ids.is_some());
        let want = case.transformers_input_ids.unwrap_or(case.input_ids);
        assert_eq!(
            tokenizer.encode(&case.text).unwrap(),
            want,
            "{:?}",
            case.text
        );
    }
    assert!(num_different > 5, "{num_different}");
}

#[derive(Deserialize)]
struct PieceCase {
    text: String,
    input_ids: Vec<u32>,
    decoded: Option<String>,
}

fn check_sentencepiece(name: &str, tokenizer: &ChatTokenizer) {
    let cases: Cases<PieceCase> = fixture(&format!("../sentencepiece/{name}.json"));
    assert!(cases.cases.len() > 100);
    let mut failures = Vec::new();
    for case in &cases.cases {
        let ids = tokenizer.encode(&case.text).unwrap();
        if ids != case.input_ids {
            failures.push(format!(
                "{:?}\n  {ids:?}\n  {:?}",
                case.text, case.input_ids
            ));
        }
        let text = case.decoded.as_ref().unwrap_or(&case.text);
        assert_eq!(
            &tokenizer.decode(&case.input_ids, true).unwrap(),
            text,
            "{name}"
        );
        check_stream(name, tokenizer, &case.input_ids);
    }
    assert!(
        failures.is_empty(),
        "{name}: {}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_sentencepiece_model_in_gguf_encodes_as_sentencepiece_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sentencepiece/tiny.gguf");
    let tokenizer = ChatTokenizer::from_gguf(&GgufFile::open(path).unwrap()).unwrap();
    assert!(tokenizer.add_bos());
    check_sentencepiece("tiny", &tokenizer);
}

/// The pieces of a sentencepiece model: a protobuf message whose field 1 is repeated and has the
/// piece, its score and its type as fields 1, 2 and 3.
fn pieces(model: &[u8]) -> Vec<(String, f32, i32)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7F) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    /// The fields of a message: number, and bytes or a number in little-endian order.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => varint(&mut bytes).to_le_bytes().to_vec(),
                1 => take(&mut bytes, 8).to_vec(),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    take(&mut bytes, length).to_vec()
                }
                _ => take(&mut bytes, 4).to_vec(),
            };
            fields.push((key >> 3, value));
        }
        fields
    }
    let model = fields(model);
    let pieces = model.iter().filter(|(number, _)| *number == 1);
    pieces
        .map(|(_, piece)| {
            let mut found = (String::new(), 0.0, NORMAL);
            for (number, value) in fields(piece) {
                match number {
                    1 => found.0 = String::from_utf8(value).unwrap(),
                    2 => found.1 = f32::from_le_bytes(value.try_into().unwrap()),
                    3 => found.2 = i32::from(value[0]),
                    _ => {}
                }
            }
            found
        })
        .collect()
}

/// Mistral 7B's sentencepiece model as the metadata of a GGUF file.
fn mistral() -> GgufBuilder {
    let assets = Assets::open(None, Arc::new(())).unwrap();
    let pieces = pieces(&std::fs::read(assets.mistral_tokenizer().unwrap()).unwrap());
    assert_eq!(pieces.len(), 32_000);
    let tokens: Vec<&str> = pieces.iter().map(|(piece, ..)| piece.as_str()).collect();
    let scores: Vec<f32> = pieces.iter().map(|(_, score, _)| *score).collect();
    let types: Vec<i32> = pieces.iter().map(|(.., kind)| *kind).collect();
    GgufBuilder::new()
        .text("general.architecture", "llama")
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &types)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
}

#[test]
fn mistrals_sentencepiece_model_in_gguf_encodes_as_sentencepiece_does() {
    let tokenizer = ChatTokenizer::from_gguf(&gguf(&mistral())).unwrap();
    check_sentencepiece("mistral", &tokenizer);
}

/// A chat in Mistral's layout.
const INSTRUCTIONS: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}\
    [INST] {{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";

#[test]
fn mistrals_chats_and_texts_have_one_bos() {
    let file = gguf(&mistral().text("tokenizer.chat_template", INSTRUCTIONS));
    let tokenizer = ChatTokenizer::from_gguf(&file).unwrap();
    let template = ChatTemplate::from_gguf(&file).unwrap().unwrap();
    let user = Message::user;
    let chat = [user("Hello."), Message::assistant("Yes?"), user("No.")];
    let rendered = template.render(&chat, Turn::NewAssistant).unwrap();
    assert_eq!(
        rendered,
        "<s>[INST] Hello.[/INST] Yes?</s>[INST] No.[/INST]"
    );
    let encode = |control| {
        let ids = tokenizer.encode_chat(&template, &chat, Turn::NewAssistant, control);
        ids.unwrap()
    };
    let closed = TrainingTokens::from_messages(&chat[..2], &template, &tokenizer).unwrap();
    // The answer with its end.
    assert_eq!(closed.num_targets(), 3, "{closed:?}");
    for ids in [
        encode(ControlTokens::Parsed),
        encode(ControlTokens::AsText),
        tokenizer.encode_text(&rendered).unwrap(),
        tokenizer.encode_text("Hello.").unwrap(),
        closed.input_ids,
    ] {
        let num_bos = ids
            .iter()
            .filter(|id| Some(**id) == tokenizer.bos_id())
            .count();
        assert_eq!((ids[0], num_bos), (1, 1), "{ids:?}");
    }
}
