use std::time::SystemTime;

use grsap_core::{Message, Turn};

use super::error::TemplateError;
use super::template::{ChatTemplate, MARKER};
use crate::gguf::GgufFile;
use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};
use crate::load_error::LoadError;

const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// Trims contents, starts with BOS, and allows only strict alternation.
const TRIMMING: &str = "{{ bos_token }}{% for m in messages %}\
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Take turns!') }}{% endif %}\
    {{- '[' + m.role + ']' + m.content | trim + eos_token }}{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Some("<s>"), Some("</s>")).unwrap()
}

fn chat(last: &str) -> [Message; 2] {
    [Message::user("Hi"), Message::assistant(last)]
}

#[test]
fn closed_new_and_open_turns() {
    let template = template(CHATML);
    let messages = chat("Yes: \"");
    let closed = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes: \"<|im_end|>\n";
    assert_eq!(template.render_closed(&messages).unwrap(), closed);
    assert_eq!(
        template.render(&messages, Turn::NewAssistant).unwrap(),
        format!("{closed}<|im_start|>assistant\n")
    );
    assert_eq!(
        template.render(&messages, Turn::ContinueLast).unwrap(),
        closed.trim_end().trim_end_matches("<|im_end|>")
    );
    let user = [Message::user("Write: ")];
    assert_eq!(
        template.render(&user, Turn::ContinueLast).unwrap(),
        "<|im_start|>user\nWrite: "
    );
}

#[test]
fn an_open_turn_ends_with_its_content() {
    let open = |source: &str, last: &str| {
        template(source)
            .render(&chat(last), Turn::ContinueLast)
            .unwrap()
    };
    let trimming = |last: &str| open(TRIMMING, last);
    assert_eq!(
        trimming("The answer is "),
        "<s>[user]Hi</s>[assistant]The answer is"
    );
    assert_eq!(trimming("\n a\n\n"), "<s>[user]Hi</s>[assistant]a");
    // The same text earlier in the chat is not the end.
    assert_eq!(trimming("Hi"), "<s>[user]Hi</s>[assistant]Hi");
    // The marker itself may be in the chat.
    assert_eq!(
        trimming(MARKER),
        format!("<s>[user]Hi</s>[assistant]{MARKER}")
    );
    // The header keeps its own line end, whatever the template trims.
    let with_lines = TRIMMING.replace("']' + m", "']\n\n' + m");
    for blank in ["", " ", "\n\n"] {
        assert_eq!(
            open(&with_lines, blank),
            "<s>[user]\n\nHi</s>[assistant]\n\n"
        );
    }
    // A template that does not trim keeps all.
    let whole = open(CHATML, " The answer is \n");
    assert!(whole.ends_with("assistant\n The answer is \n"), "{whole}");
}

#[test]
fn a_content_that_the_template_changes_cannot_stay_open() {
    let shouting = CHATML.replace(
        "message['content']",
        "message['content'] | replace('b', 'c')",
    );
    let error = template(&shouting)
        .render(&chat("abc"), Turn::ContinueLast)
        .unwrap_err();
    assert_eq!(error, TemplateError::LastContentMissing);
}

#[test]
fn variables_reach_the_template() {
    let template = template("{{ bos_token }}{{ date_string }}{{ list[1] }}")
        .with_variable("bos_token", "<b>")
        .with_variable("date_string", "1 May")
        .with_variable("list", serde_json::json!([1, 2]));
    assert_eq!(template.render_closed(&chat("")).unwrap(), "<b>1 May2");
}

#[test]
fn what_a_template_raises_is_passed_on() {
    let error = template(TRIMMING)
        .render(&[Message::assistant("a")], Turn::NewAssistant)
        .unwrap_err();
    assert_eq!(
        error,
        TemplateError::Raised {
            message: "Take turns!".into()
        }
    );
    assert_eq!(
        error.to_string(),
        "the chat template refused the messages: Take turns!"
    );
}

#[test]
fn other_failures() {
    let error = ChatTemplate::new("{% if %}", None, None).unwrap_err();
    assert!(matches!(error, TemplateError::Syntax { .. }), "{error}");
    let messages = chat("x");
    let error = template("{{ messages[0].a.b }}")
        .render_closed(&messages)
        .unwrap_err();
    assert!(matches!(error, TemplateError::Render { .. }), "{error}");
    for turn in [Turn::ContinueLast, Turn::NewAssistant] {
        let rendered = template(CHATML).render(&[], turn);
        assert_eq!(rendered, Err(TemplateError::NoMessages));
    }
    assert_eq!(
        template(CHATML).render_closed(&[]),
        Err(TemplateError::NoMessages)
    );
    assert_eq!(
        template("{{ messages[0].content }}").render(&messages, Turn::ContinueLast),
        Err(TemplateError::LastContentMissing)
    );
}

#[test]
fn tokens_that_the_model_lacks_print_as_nothing() {
    let source = "{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}";
    let template = ChatTemplate::new(source, None, None).unwrap();
    assert_eq!(template.render_closed(&chat("")).unwrap(), "FalseTrue");
}

#[test]
fn the_places_of_a_template() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let source = || {
        let template = ChatTemplate::from_dir(dir.path())?;
        Ok::<_, LoadError>(template.map(|t| t.render_closed(&chat("")).unwrap()))
    };
    assert_eq!(source().unwrap(), None);
    write(
        "tokenizer_config.json",
        r#"{"chat_template": "a{{ eos_token }}", "eos_token": {"content": "E"}}"#,
    );
    assert_eq!(source().unwrap().as_deref(), Some("aE"));
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#,
    );
    assert_eq!(source().unwrap().as_deref(), Some("d"));
    let additional = dir.path().join("additional_chat_templates");
    std::fs::create_dir(&additional).unwrap();
    std::fs::write(additional.join("rag.jinja"), "r").unwrap();
    let message = source().unwrap_err().to_string();
    assert!(
        message.contains("rag.jinja: chat_template: no template is named `default`, only rag"),
        "{message}"
    );
    write("chat_template.jinja", "j\n");
    assert_eq!(source().unwrap().as_deref(), Some("j"));
    std::fs::write(additional.join("default.jinja"), "additional").unwrap();
    std::fs::write(additional.join("default.txt"), "no template").unwrap();
    assert_eq!(source().unwrap().as_deref(), Some("additional"));
    std::fs::remove_dir_all(&additional).unwrap();
    write("chat_template.jinja", "{{");
    let message = source().unwrap_err().to_string();
    assert!(
        message.contains("chat_template.jinja: chat_template: the chat template does not parse"),
        "{message}"
    );
    std::fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    for bad in [
        r#"{"chat_template": [{"name": "x", "template": "t"}]}"#,
        r#"{"chat_template": ["x"]}"#,
        r#"{"chat_template": 1}"#,
    ] {
        write("tokenizer_config.json", bad);
        assert!(
            source()
                .unwrap_err()
                .to_string()
                .contains("tokenizer_config.json: chat_template: ")
        );
    }

    let file = |builder: GgufBuilder| GgufFile::from_bytes(builder.build()).unwrap();
    let bare = file(GgufBuilder::new());
    assert!(ChatTemplate::from_gguf(&bare).unwrap().is_none());
    let gguf = tiny_tokenizer(GgufBuilder::new())
        .text("tokenizer.chat_template", "{{ bos_token }}{{ eos_token }}");
    let template = ChatTemplate::from_gguf(&file(gguf)).unwrap().unwrap();
    assert_eq!(
        template.render_closed(&chat("")).unwrap(),
        "<|im_start|><|im_end|>"
    );
}

#[test]
fn now_is_the_same_every_day() {
    let template = template("{{ strftime_now('%d %b %Y') }}");
    assert_eq!(template.render_closed(&chat("")).unwrap(), "26 Jul 2024");
    let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(951_782_400);
    let text = template.with_now(then).unwrap().render_closed(&chat(""));
    assert_eq!(text.unwrap(), "29 Feb 2000");
}
