//! Chat templates, tokenizers and training masks against transformers, for six families of chat
//! models. The fixtures and the scripts that made them are in `fixtures/chat_templates`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use assets::{Assets, Family};
use grsap_core::{Message, Turn};
use grsap_model::{ChatTemplate, ChatTokenizer, GgufFile, TemplateError, TrainingTokens};
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
