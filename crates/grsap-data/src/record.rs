use grsap_core::{Message, Role};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One training example: a chat in the `messages` form of Hugging Face data sets.
///
/// Reading is lenient, because published data sets carry columns of their own: unknown fields of
/// a row or of a message are left out, and a numeric `id` becomes text. An unknown role is an error.
///
/// # Examples
///
/// ```
/// use grsap_data::Record;
///
/// let row = r#"{"id": 7, "split": "train", "messages": [
///     {"role": "user", "content": "Hi.", "weight": 0},
///     {"role": "assistant", "content": "Hello!"}]}"#;
/// let record: Record = serde_json::from_str(row)?;
/// assert_eq!(record.id.as_deref(), Some("7"));
/// assert_eq!(record.response(), Some("Hello!"));
/// assert!(record.validate().is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The turns, in order.
    #[serde(deserialize_with = "lenient_messages")]
    pub messages: Vec<Message>,
    /// A name for the row that is unique in its data set.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_id"
    )]
    pub id: Option<String>,
    /// Where the row comes from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_id"
    )]
    pub source: Option<String>,
    /// Anything else that is worth keeping with the row.
    #[serde(
        default,
        skip_serializing_if = "Map::is_empty",
        deserialize_with = "lenient_metadata"
    )]
    pub metadata: Map<String, Value>,
}

impl Record {
    /// A record of `messages`.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self {
            messages: messages.into_iter().collect(),
            id: None,
            source: None,
            metadata: Map::new(),
        }
    }

    /// One user turn and the answer to it.
    pub fn exchange(prompt: impl Into<String>, response: impl Into<String>) -> Self {
        Self::new([Message::user(prompt), Message::assistant(response)])
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the source.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The text of the last assistant turn.
    pub fn response(&self) -> Option<&str> {
        self.messages
            .iter()
            .rev()
            .find(|message| message.role == Role::Assistant)
            .map(|message| message.content.as_str())
    }

    /// The messages before the last assistant turn.
    pub fn prompt(&self) -> &[Message] {
        let end = self
            .messages
            .iter()
            .rposition(|message| message.role == Role::Assistant)
            .unwrap_or(self.messages.len());
        self.messages.get(..end).unwrap_or_default()
    }

    /// Checks that there is something to train on.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when there is no message, or no assistant turn with text in it.
    pub fn validate(&self) -> Result<(), RecordError> {
        if self.messages.is_empty() {
            return Err(RecordError::NoMessages);
        }
        let has_target = self
            .messages
            .iter()
            .any(|message| message.role == Role::Assistant && !message.content.trim().is_empty());
        if has_target {
            Ok(())
        } else {
            Err(RecordError::NoAssistantTurn)
        }
    }
}

/// A record cannot be trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// `messages` is empty.
    #[error("messages is empty")]
    NoMessages,
    /// Nothing is said by the assistant.
    #[error("messages has no assistant turn with text in it")]
    NoAssistantTurn,
}

/// `grsap_core::Message` refuses unknown fields; published rows have them.
#[derive(Deserialize)]
struct LenientMessage {
    role: Role,
    content: String,
}

fn lenient_messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    Ok(Vec::<LenientMessage>::deserialize(deserializer)?
        .into_iter()
        .map(|message| Message::new(message.role, message.content))
        .collect())
}

fn lenient_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn lenient_metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Object(map) => map,
        _ => Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_needs_an_assistant_turn_with_text() {
        assert_eq!(Record::new([]).validate(), Err(RecordError::NoMessages));
        let user_only = Record::new([Message::user("hi")]);
        assert_eq!(user_only.validate(), Err(RecordError::NoAssistantTurn));
        let blank = Record::exchange("hi", " \n\t");
        assert_eq!(blank.validate(), Err(RecordError::NoAssistantTurn));
        assert_eq!(Record::exchange("hi", "ho").validate(), Ok(()));
    }

    #[test]
    fn prompt_and_response_split_at_the_last_assistant_turn() {
        let record = Record::new([
            Message::user("1"),
            Message::assistant("2"),
            Message::user("3"),
            Message::assistant("4"),
        ]);
        assert_eq!(record.prompt().len(), 3);
        assert_eq!(record.response(), Some("4"));
        let open = Record::new([Message::user("1")]);
        assert_eq!(open.prompt().len(), 1);
        assert_eq!(open.response(), None);
    }

    #[test]
    fn odd_optional_fields_do_not_fail_a_row() {
        let row = r#"{"messages": [], "id": null, "source": 3, "metadata": "none"}"#;
        let record: Record = serde_json::from_str(row).unwrap();
        assert_eq!(record.id, None);
        assert_eq!(record.source.as_deref(), Some("3"));
        assert!(record.metadata.is_empty());
    }

    #[test]
    fn unknown_roles_and_missing_content_fail() {
        let role = r#"{"messages": [{"role": "tool", "content": "x"}]}"#;
        assert!(serde_json::from_str::<Record>(role).is_err());
        let content = r#"{"messages": [{"role": "user"}]}"#;
        assert!(serde_json::from_str::<Record>(content).is_err());
    }

    #[test]
    fn plain_records_are_written_without_empty_fields() {
        let text = serde_json::to_string(&Record::exchange("a", "b")).unwrap();
        assert_eq!(
            text,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#
        );
    }
}
