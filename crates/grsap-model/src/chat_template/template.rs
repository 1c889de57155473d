use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use grsap_core::{Message, Turn};
use minijinja::{Environment, Value, context};
use serde_json::Value as Json;

use super::error::TemplateError;
use crate::gguf::GgufFile;
use crate::jinja::environment;
use crate::load_error::{LoadError, read_json_if_there};
use crate::template_limits::render;

const NAME: &str = "chat_template";

/// Stands at the end of a message that stays open, to find its end in the rendered text.
pub(super) const MARKER: &str = "OpenTurnEndsHere";

/// A model's own chat template: turns messages into the text that the model was trained on.
///
/// The text has all special tokens in it, so it is encoded with
/// [`ChatTokenizer::encode`](crate::ChatTokenizer::encode), which adds none.
///
/// # Source
///
/// `apply_chat_template` in transformers: `trim_blocks` and `lstrip_blocks` are on, Python's string
/// methods, `raise_exception`, `strftime_now` and an unescaped `tojson` are there, and
/// `{% generation %}` marks nothing.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`].
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_core::{Message, Turn};
    /// use grsap_model::ChatTemplate;
    ///
    /// let template = ChatTemplate::new(
    ///     "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\
    ///      {% if add_generation_prompt %}<assistant>{% endif %}",
    ///     None,
    ///     Some("</s>"),
    /// )?;
    /// let messages = [Message::user("Hello.")];
    /// assert_eq!(template.render(&messages, Turn::NewAssistant)?, "<user>Hello.</s><assistant>");
    /// assert_eq!(template.render(&messages, Turn::ContinueLast)?, "<user>Hello.");
    /// # Ok::<(), grsap_model::TemplateError>(())
    /// ```
    pub fn new(
        source: &str,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<Self, TemplateError> {
        Ok(Self {
            source: source.into(),
            environment: Arc::new(environment(NAME, source, None)?),
            bos_token: bos_token.map(str::to_owned),
            eos_token: eos_token.map(str::to_owned),
        })
    }

    /// Fixes what `strftime_now` calls now. Otherwise it is the time of rendering (UTC), and a
    /// template that writes the date gives another text tomorrow.
    ///
    /// # Errors
    ///
    /// None for a template that was compiled before.
    pub fn with_now(mut self, now: SystemTime) -> Result<Self, TemplateError> {
        self.environment = Arc::new(environment(NAME, &self.source, Some(now))?);
        Ok(self)
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads the template of a Hugging Face model: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json` (a text, or a list with one named `default`).
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file that cannot be read or the template that does not parse.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, LoadError> {
        let config_path = dir.join("tokenizer_config.json");
        let config = read_json_if_there(&config_path)?.unwrap_or(Json::Null);
        let file = dir.join("chat_template.jinja");
        let (path, source) = if file.is_file() {
            let source = std::fs::read_to_string(&file).map_err(|e| LoadError::io(&file, e))?;
            (file, source)
        } else {
            match default_template(&config) {
                Ok(None) => return Ok(None),
                Ok(Some(source)) => (config_path, source.to_owned()),
                Err(reason) => return Err(LoadError::invalid(&config_path, NAME, reason)),
            }
        };
        Self::new(
            &source,
            token_text(&config, "bos_token"),
            token_text(&config, "eos_token"),
        )
        .map(Some)
        .map_err(|e| LoadError::invalid(&path, NAME, e))
    }

    /// Reads the template in the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the key that is wrong or the template that does not parse.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, LoadError> {
        let key = "tokenizer.chat_template";
        let Some(source) = file.string(key)? else {
            return Ok(None);
        };
        let tokens = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let token = |key: &str| -> Result<Option<&str>, LoadError> {
            let id = file.unsigned(key)?.and_then(|id| usize::try_from(id).ok());
            Ok(id.and_then(|id| tokens.get(id)).map(String::as_str))
        };
        Self::new(
            source,
            token("tokenizer.ggml.bos_token_id")?,
            token("tokenizer.ggml.eos_token_id")?,
        )
        .map(Some)
        .map_err(|e| LoadError::invalid(file.path(), key, e))
    }

    /// Renders a prompt.
    ///
    /// With [`Turn::ContinueLast`] the text ends exactly with the last message's content, also
    /// where the template would trim the content's end or add to it. An empty content leaves the
    /// header of its turn. (transformers drops trailing spaces under templates that trim.)
    ///
    /// # Errors
    ///
    /// [`TemplateError::Raised`] with the template's words when it does not allow these messages.
    pub fn render(&self, messages: &[Message], turn: Turn) -> Result<String, TemplateError> {
        match turn {
            Turn::NewAssistant if messages.is_empty() => Err(TemplateError::NoMessages),
            Turn::NewAssistant => self.render_raw(messages, true),
            Turn::ContinueLast => self.render_open(messages),
        }
    }

    /// Renders a whole chat with every turn closed, as a training example.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render).
    pub fn render_closed(&self, messages: &[Message]) -> Result<String, TemplateError> {
        if messages.is_empty() {
            return Err(TemplateError::NoMessages);
        }
        self.render_raw(messages, false)
    }

    fn render_open(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let last = messages
            .len()
            .checked_sub(1)
            .ok_or(TemplateError::NoMessages)?;
        let (mut text, end) = self
            .render_marked(messages, last)?
            .ok_or(TemplateError::LastContentMissing)?;
        text.truncate(end);
        Ok(text)
    }

    /// Renders a closed chat with a marker at the end of the content of message `index`, and finds
    /// the marker. `None` when the template leaves that content out.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        index: usize,
    ) -> Result<Option<(String, usize)>, TemplateError> {
        let mut marker = MARKER.to_owned();
        while messages.iter().any(|m| m.content.contains(&marker)) {
            marker.push('X');
        }
        let mut marked = messages.to_vec();
        if let Some(message) = marked.get_mut(index) {
            message.content.push_str(&marker);
        }
        let text = self.render_raw(&marked, false)?;
        Ok(text.rfind(&marker).map(|end| (text, end)))
    }

    /// Also renders an empty chat, which prefixes of a chat need.
    pub(crate) fn render_raw(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let messages: Value = messages
            .iter()
            .map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", &m.content)]))
            .collect();
        // A token that the model lacks is undefined, not none, and prints as nothing.
        let token = |token: &Option<String>| token.as_deref().map_or(Value::UNDEFINED, Value::from);
        let context = context! {
            messages,
            add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => token(&self.bos_token),
            eos_token => token(&self.eos_token),
        };
        Ok(render(&self.environment, NAME, context)?)
    }
}

/// The default template in a `tokenizer_config.json`.
fn default_template(config: &Json) -> Result<Option<&str>, String> {
    match config.get(NAME) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(source)) => Ok(Some(source)),
        Some(Json::Array(named)) => named
            .iter()
            .find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(Some)
            .ok_or_else(|| "the list has no template named `default`".to_owned()),
        Some(other) => Err(format!("expected a text or a list, got {other}")),
    }
}

/// A special token in a `tokenizer_config.json`: a text, or an object with `content`.
pub(crate) fn token_text<'a>(config: &'a Json, name: &str) -> Option<&'a str> {
    let token = config.get(name)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}
