//! Chat templates, tokenizers and training masks against transformers, for six families of chat
//! models. The fixtures and the scripts that made them are in `fixtures/chat_templates`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a failure here is the message

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

#[allow(dead_code, clippy::duplicate_mod)] // a part of it is used
#[path = "../../crates/grsap-model/src/gguf/builder.rs"]
mod builder;

#[path = "text_parity/gguf.rs"]
mod gguf;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use assets::{Assets, Family};
use grsap_core::{Message, Role, Turn};
use grsap_model::{
    ChatTemplate, ChatTokenizer, ControlTokens, GgufFile, TemplateError, TrainingTokens,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A family with its tokenizer and template, read once.
struct Model {
    name: &'static str,
    tokenizer: ChatTokenizer,
    template: ChatTemplate,
}

fn models() -> &'static [Model] {
    static MODELS: OnceLock<Vec<Model>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let assets = Assets::open(None, Arc::new(())).unwrap();
        let gguf = GgufFile::open(assets.smollm2().unwrap()).unwrap();
        let mut models = vec![Model {
            name: "smollm2",
            tokenizer: ChatTokenizer::from_gguf(&gguf).unwrap(),
            template: ChatTemplate::from_gguf(&gguf).unwrap().unwrap(),
        }];
        for (name, family) in [
            ("llama3_1", Family::Llama3_1),
            ("llama3", Family::Llama3),
            ("qwen2_5", Family::Qwen2_5),
            ("qwen3", Family::Qwen3),
            ("gemma3", Family::Gemma3),
        ] {
            let dir = assets.tokenizer(family).unwrap_or_else(|e| panic!("{e}"));
            models.push(Model {
                name,
                tokenizer: ChatTokenizer::from_dir(&dir).unwrap(),
                template: ChatTemplate::from_dir(&dir).unwrap().unwrap(),
            });
        }
        models
    })
}

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat_templates");
    serde_json::from_slice(&std::fs::read(path.join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

/// A text, or what identifies it where it is long.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Text { text: String },
    Hash { sha256: String, num_bytes: usize },
}

impl Expected {
    fn is(&self, got: &str) -> bool {
        match self {
            Self::Text { text } => text == got,
            Self::Hash { sha256, num_bytes } => {
                *num_bytes == got.len() && *sha256 == grsap_core::digest_hex(got.as_bytes())
            }
        }
    }
}

#[derive(Deserialize)]
struct Chat {
    name: String,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct ChatCase {
    chat: String,
    turn: String,
    prompt: Option<Expected>,
    error: Option<String>,
    input_ids: Option<Vec<u32>>,
    targets: Option<Vec<(usize, usize)>>,
    sanitized_ids: Option<Vec<u32>>,
}

/// Every conversation, turn and family.
fn each_chat(mut check: impl FnMut(&Model, &[Message], &ChatCase) -> Result<(), String>) {
    let chats: Cases<Chat> = fixture("conversations.json");
    let mut failures = Vec::new();
    let mut num_checked = 0;
    for model in models() {
        let cases: Cases<ChatCase> = fixture(&format!("{}.json", model.name));
        for case in &cases.cases {
            let chat = chats.cases.iter().find(|c| c.name == case.chat).unwrap();
            if let Err(why) = check(model, &chat.messages, case) {
                let ChatCase { chat, turn, .. } = case;
                failures.push(format!("{} {chat}/{turn}: {why}", model.name));
            }
            num_checked += 1;
        }
    }
    assert!(num_checked > 700, "{num_checked}");
    assert!(
        failures.is_empty(),
        "{}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// An open turn without content, under a template that trims contents.
fn keeps_header(messages: &[Message], case: &ChatCase) -> bool {
    case.turn == "continue_final"
        && messages
            .last()
            .is_some_and(|last| last.content.trim().is_empty())
}

fn render(
    template: &ChatTemplate,
    messages: &[Message],
    turn: &str,
) -> Result<String, TemplateError> {
    match turn {
        "closed" => template.render_closed(messages),
        "generation_prompt" => template.render(messages, Turn::NewAssistant),
        _ => template.render(messages, Turn::ContinueLast),
    }
}

#[test]
fn chats_are_rendered_as_by_transformers() {
    each_chat(|model, messages, case| {
        let got = render(&model.template, messages, &case.turn);
        match (&case.prompt, got) {
            (Some(want), Ok(got)) if want.is(&got) => Ok(()),
            // The header of the open turn is whole here; there its own line ends are gone.
            (Some(want), Ok(got)) if keeps_header(messages, case) && want.is(got.trim_end()) => {
                let before = &messages[..messages.len() - 1];
                let header = model.template.render(before, Turn::NewAssistant);
                match messages.last().unwrap().role {
                    Role::Assistant if header.as_deref() != Ok(got.as_str()) => {
                        Err(format!("{got:?}, not {header:?}"))
                    }
                    _ => Ok(()),
                }
            }
            (None, Err(error)) => {
                let want = case.error.as_deref().unwrap();
                let raised = want.strip_prefix("raised: ");
                match error {
                    TemplateError::Raised { message } if raised == Some(&message) => Ok(()),
                    TemplateError::NoMessages | TemplateError::LastContentMissing
                        if raised.is_none() =>
                    {
                        Ok(())
                    }
                    other => Err(format!("{other}, not {want}")),
                }
            }
            (_, got) => Err(format!("{got:?}")),
        }
    });
}

#[derive(Deserialize)]
struct JinjaFixture {
    messages: Vec<Message>,
    cases: Vec<JinjaCase>,
}

#[derive(Deserialize)]
struct JinjaCase {
    template: String,
    text: Option<String>,
    raised: Option<String>,
}

#[test]
fn pieces_of_jinja_are_rendered_as_by_transformers() {
    let fixture: JinjaFixture = fixture("jinja.json");
    let mut failures = Vec::new();
    for case in &fixture.cases {
        let got = ChatTemplate::new(&case.template, Some("<s>"), Some("</s>"))
            .and_then(|template| template.render_closed(&fixture.messages));
        let good = match (&got, &case.text, &case.raised) {
            (Ok(got), Some(want), _) => got == want,
            (Err(TemplateError::Raised { message }), None, Some(want)) => message == want,
            (Err(error), None, None) => !matches!(error, TemplateError::Raised { .. }),
            _ => false,
        };
        if !good {
            failures.push(format!(
                "{:?}\n  got  {got:?}\n  want {:?}",
                case.template, case.text
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[derive(Deserialize)]
struct TextCases {
    ids: Vec<IdCase>,
    cases: Vec<TextCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    input_ids: Vec<u32>,
    /// What the tokenizer puts in front of a plain text.
    added: Vec<u32>,
    /// Absent where it is the text.
    decoded: Option<String>,
    decoded_without_special: Option<String>,
}

/// SHA-256 of what random ids decode to.
#[derive(Deserialize)]
struct IdCase {
    input_ids: Vec<u32>,
    decoded: String,
    decoded_without_special: String,
}

#[test]
fn texts_are_encoded_and_decoded_as_by_transformers() {
    for Model {
        name, tokenizer, ..
    } in models()
    {
        let fixture: TextCases = fixture(&format!("{name}_texts.json"));
        assert!(fixture.cases.len() >= 70 && fixture.ids.len() >= 10);
        for case in &fixture.cases {
            let text = &case.text;
            assert_eq!(
                tokenizer.encode(text).unwrap(),
                case.input_ids,
                "{name} {text:?}"
            );
            // transformers puts a second one before a text that spells it out.
            let added = match case.input_ids.starts_with(&case.added) {
                true => &[],
                false => case.added.as_slice(),
            };
            let whole = tokenizer.encode_text(text).unwrap();
            assert_eq!(whole, [added, &case.input_ids].concat(), "{name} {text:?}");
            assert_eq!(tokenizer.add_bos(), !case.added.is_empty(), "{name}");
            let decoded = |skip| tokenizer.decode(&case.input_ids, skip).unwrap();
            assert_eq!(
                &decoded(false),
                case.decoded.as_ref().unwrap_or(text),
                "{name}"
            );
            let without = case.decoded_without_special.as_ref().unwrap_or(text);
            assert_eq!(&decoded(true), without, "{name}");
        }
        for case in &fixture.ids {
            let hash = |skip| {
                let text = tokenizer.decode(&case.input_ids, skip).unwrap();
                grsap_core::digest_hex(text.as_bytes())
            };
            assert_eq!(hash(false), case.decoded, "{name} {:?}", case.input_ids);
            assert_eq!(hash(true), case.decoded_without_special, "{name}");
        }
    }
}

/// Pushes `ids` one by one. What comes out are whole characters, and the text is what decoding at
/// once gives.
fn check_stream(name: &str, tokenizer: &ChatTokenizer, ids: &[u32]) {
    let whole = tokenizer.decode(ids, true).unwrap();
    let mut stream = tokenizer.stream_decoder();
    let mut parts = String::new();
    for &id in ids {
        // A `&str` is made of whole characters; a broken one would show as U+FFFD too early.
        parts.push_str(stream.push(id));
        assert!(
            whole.starts_with(&parts),
            "{name} {ids:?}: {parts:?} {whole:?}"
        );
    }
    parts.push_str(stream.finish());
    assert_eq!(parts, whole, "{name} {ids:?}");
    assert_eq!(stream.text(), whole, "{name} {ids:?}");
}

#[test]
fn streamed_text_is_made_of_whole_characters() {
    use rand::RngExt as _;
    for Model {
        name, tokenizer, ..
    } in models()
    {
        let fixture: TextCases = fixture(&format!("{name}_texts.json"));
        for case in &fixture.cases {
            check_stream(name, tokenizer, &case.input_ids);
        }
        let mut rng = grsap_core::rng(1, "text_parity.streams", &[name.as_bytes()]);
        let bytes = fixture.cases.iter().flat_map(|case| &case.input_ids);
        let seen: Vec<u32> = bytes.copied().collect();
        for _ in 0..400 {
            let length = rng.random_range(1..24);
            // Any tokens; then those of the texts, many of which are parts of characters.
            let any: Vec<u32> = (0..length)
                .map(|_| rng.random_range(0..tokenizer.vocab_size() as u32 + 8))
                .collect();
            check_stream(name, tokenizer, &any);
            let parts: Vec<u32> = (0..length)
                .map(|_| seen[rng.random_range(0..seen.len())])
                .collect();
            check_stream(name, tokenizer, &parts);
        }
    }
}

#[test]
fn prompts_are_encoded_as_by_transformers_with_one_bos() {
    each_chat(|model, messages, case| {
        let Some(want) = &case.input_ids else {
            return Ok(());
        };
        let Ok(prompt) = render(&model.template, messages, &case.turn) else {
            return Err("no prompt".into());
        };
        if keeps_header(messages, case) {
            return Ok(());
        }
        let ids = model.tokenizer.encode(&prompt).unwrap();
        if &ids != want {
            return Err(format!("{ids:?}, not {want:?}"));
        }
        let spelled = |m: &Message| m.content.contains(model.tokenizer.bos_token().unwrap());
        let is_bos = |id: &&u32| Some(**id) == model.tokenizer.bos_id();
        let has_bos = matches!(model.name, "llama3_1" | "llama3" | "gemma3");
        if has_bos && !messages.iter().any(spelled) && ids.iter().filter(is_bos).count() != 1 {
            return Err("not one bos".into());
        }
        Ok(())
    });
}

#[test]
fn special_tokens_in_contents_are_text_on_request() {
    let mut num_different = 0;
    each_chat(|model, messages, case| {
        if case.turn != "generation_prompt" || case.prompt.is_none() {
            return Ok(());
        }
        let encode = |control| {
            let (tokenizer, template) = (&model.tokenizer, &model.template);
            tokenizer.encode_chat(template, messages, Turn::NewAssistant, control)
        };
        let parsed = encode(ControlTokens::Parsed).map_err(|e| e.to_string())?;
        assert_eq!(Some(&parsed), case.input_ids.as_ref());
        let as_text = encode(ControlTokens::AsText).map_err(|e| e.to_string())?;
        num_different += usize::from(case.sanitized_ids.is_some());
        let want = case.sanitized_ids.as_ref().unwrap_or(&parsed);
        match &as_text == want {
            true => Ok(()),
            false => Err(format!("{as_text:?}, not {want:?}")),
        }
    });
    assert!(num_different >= 18, "{num_different}");
}

#[test]
fn the_assistants_tokens_are_those_that_transformers_marks() {
    each_chat(|model, messages, case| {
        let Some(want) = &case.targets else {
            return Ok(());
        };
        let tokens = TrainingTokens::from_messages(messages, &model.template, &model.tokenizer);
        let tokens = tokens.map_err(|e| e.to_string())?;
        assert_eq!(Some(&tokens.input_ids), case.input_ids.as_ref());
        let mut is_target = vec![false; tokens.input_ids.len()];
        want.iter()
            .for_each(|&(start, end)| is_target[start..end].fill(true));
        let text = |mask: &[bool]| {
            let ids = tokens
                .input_ids
                .iter()
                .zip(mask)
                .filter(|(_, marked)| **marked);
            let ids: Vec<u32> = ids.map(|(id, _)| *id).collect();
            model.tokenizer.decode(&ids, false).unwrap()
        };
        if tokens.is_target != is_target {
            return Err(format!(
                "{:?}, not {:?}",
                text(&tokens.is_target),
                text(&is_target)
            ));
        }
        // Every turn ends with a token that ends generation.
        let starts =
            |(i, marked): (usize, &bool)| *marked && !is_target.get(i + 1).unwrap_or(&false);
        let ends = is_target
            .iter()
            .enumerate()
            .filter(|(i, m)| starts((*i, m)));
        let all_end = ends
            .clone()
            .all(|(i, _)| model.tokenizer.is_eos(tokens.input_ids[i]));
        let num_turns = messages
            .iter()
            .filter(|m| m.role == Role::Assistant)
            .count();
        if !all_end || ends.count() != num_turns {
            return Err("a turn without an end".into());
        }
        Ok(())
    });
}
