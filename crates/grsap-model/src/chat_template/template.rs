use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grsap_core::{Message, Turn};
use minijinja::value::Serde;
use minijinja::{Environment, Value};

use super::error::TemplateError;
use crate::jinja::{END_MARK, START_MARK, environment, has_generation_tags, is_space};
use crate::template_limits::render;

pub(super) const NAME: &str = "chat_template";

/// Stands at the end of a message that stays open, to find its end in the rendered text.
pub(super) const MARKER: &str = "OpenTurnEndsHere";

/// Stand around `{% generation %}` blocks in the rendered text.
const BLOCK_START: &str = "GenerationBlockStartsHere";
const BLOCK_END: &str = "GenerationBlockEndsHere";

/// 26 July 2024, in seconds since 1970.
const DEFAULT_NOW: Duration = Duration::from_secs(1_721_952_000);

/// A model's own chat template: turns messages into the text that the model was trained on.
///
/// The text has all special tokens in it, so it is encoded with
/// [`ChatTokenizer::encode`](crate::ChatTokenizer::encode), which adds none.
///
/// # Source
///
/// `apply_chat_template` in transformers: `trim_blocks` and `lstrip_blocks` are on, Python's string
/// methods, `raise_exception`, `strftime_now` and an unescaped `tojson` are there, and
/// `{% generation %}` marks what the assistant writes. Three things differ:
///
/// * today is 26 July 2024, the date that Llama 3's template names where it has no clock, unless
///   [`with_now`](Self::with_now) says otherwise: the same messages give the same text tomorrow;
/// * an open turn without content keeps its whole header (see [`render`](Self::render));
/// * the operator `%` does not format texts, and a template that uses it so is an error.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    environment: Arc<Environment<'static>>,
    variables: Vec<(String, Value)>,
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
        let tokens = [("bos_token", bos_token), ("eos_token", eos_token)];
        // A token that the model lacks is undefined, not none, and prints as nothing.
        let variables = tokens
            .into_iter()
            .filter_map(|(name, token)| Some((name.to_owned(), Value::from(token?))));
        Ok(Self {
            source: source.into(),
            environment: Arc::new(environment(
                NAME,
                source,
                SystemTime::UNIX_EPOCH + DEFAULT_NOW,
            )?),
            variables: variables.collect(),
        })
    }

    /// Sets what `strftime_now` calls now (UTC). transformers takes the time of rendering.
    ///
    /// # Errors
    ///
    /// None for a template that was compiled before.
    pub fn with_now(mut self, now: SystemTime) -> Result<Self, TemplateError> {
        self.environment = Arc::new(environment(NAME, &self.source, now)?);
        Ok(self)
    }

    /// Gives the template a variable of its own, as further arguments of `apply_chat_template` do.
    ///
    /// # Examples
    ///
    /// ```
    /// # use grsap_core::{Message, Turn};
    /// # use grsap_model::ChatTemplate;
    /// let template = ChatTemplate::new("{{ 'Think!' if enable_thinking else 'Answer!' }}", None, None)?
    ///     .with_variable("enable_thinking", false);
    /// assert_eq!(template.render(&[Message::user("?")], Turn::NewAssistant)?, "Answer!");
    /// # Ok::<(), grsap_model::TemplateError>(())
    /// ```
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        let value = Value::from(Serde(value.into()));
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value));
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a prompt.
    ///
    /// With [`Turn::ContinueLast`] the text ends with the last message's content. As in transformers,
    /// white space at its end goes where the template trims contents. But a content of white space
    /// alone leaves the header of its turn whole, so that the model can be asked to write any turn
    /// from its start; transformers would cut the header's own line ends off.
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
        let last = messages.last().ok_or(TemplateError::NoMessages)?;
        let marked = self
            .render_marked(messages, messages.len() - 1)?
            .ok_or(TemplateError::LastContentMissing)?;
        let content = last.content.trim_matches(is_space);
        let mut text = marked.text;
        if !text.contains(content) {
            return Err(TemplateError::LastContentMissing);
        }
        text.truncate(marked.end);
        if marked.is_trimmed && !content.is_empty() {
            text.truncate(text.trim_end_matches(is_space).len());
        }
        Ok(text)
    }

    /// Renders a closed chat with a marker at the end of the content of message `index`, and finds
    /// the marker. `None` when the template leaves that content out.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        index: usize,
    ) -> Result<Option<Marked>, TemplateError> {
        let marker = unused(MARKER, messages);
        let mut marked = messages.to_vec();
        if let Some(message) = marked.get_mut(index) {
            message.content.push_str(&marker);
            message.content.push(' ');
        }
        let text = self.render_raw(&marked, false)?;
        Ok(text.rfind(&marker).map(|end| Marked {
            is_trimmed: !text
                .get(end + marker.len()..)
                .is_some_and(|rest| rest.starts_with(' ')),
            text,
            end,
        }))
    }

    /// Also renders an empty chat, which prefixes of a chat need.
    pub(crate) fn render_raw(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        self.render_with(messages, add_generation_prompt, &[])
    }

    /// Renders a closed chat, with the bytes of each `{% generation %}` block. `None` for a template
    /// that has no such blocks.
    pub(crate) fn render_generations(
        &self,
        messages: &[Message],
    ) -> Result<Option<Generations>, TemplateError> {
        if !has_generation_tags(&self.source) {
            return Ok(None);
        }
        if messages.is_empty() {
            return Err(TemplateError::NoMessages);
        }
        let (start, end) = (unused(BLOCK_START, messages), unused(BLOCK_END, messages));
        let marks = [(START_MARK, start.as_str()), (END_MARK, end.as_str())];
        let marked = self.render_with(messages, false, &marks)?;
        let mut text = String::new();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut pieces = marked.split(&start);
        text.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let (inside, after) = piece.split_once(&end).unwrap_or((piece, ""));
            ranges.push(text.len()..text.len() + inside.len());
            text.push_str(inside);
            text.push_str(after);
        }
        Ok(Some((text, ranges)))
    }

    fn render_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        marks: &[(&str, &str)],
    ) -> Result<String, TemplateError> {
        let messages: Value = messages
            .iter()
            .map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", &m.content)]))
            .collect();
        let none = || Value::from(());
        let own = [
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", none()),
            ("documents", none()),
        ];
        let marks = marks.iter().map(|(name, mark)| (*name, Value::from(*mark)));
        let given = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let context = Value::from_pairs(own.into_iter().chain(given).chain(marks));
        Ok(render(&self.environment, NAME, context)?)
    }
}

/// A closed chat with a marker in it.
pub(crate) struct Marked {
    pub(crate) text: String,
    /// Where the marker starts.
    pub(crate) end: usize,
    /// Whether the template trimmed what was behind the marker.
    pub(crate) is_trimmed: bool,
}

/// A closed chat, and the bytes of what the template says that the assistant writes.
pub(crate) type Generations = (String, Vec<Range<usize>>);

/// A text that begins like `text` and is in no message.
fn unused(text: &str, messages: &[Message]) -> String {
    let mut text = text.to_owned();
    while messages.iter().any(|m| m.content.contains(&text)) {
        text.push('X');
    }
    text
}
