use grsap_core::Message;
use serde::{Deserialize, Serialize};

use crate::Record;

/// One question of a task and its reference answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// What is asked.
    pub question: String,
    /// The answer as the data set has it, worked steps included.
    pub answer: String,
    /// What to choose from; empty for open questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

impl TaskRow {
    /// An open question.
    pub fn new(question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self {
            question: question.into(),
            answer: answer.into(),
            choices: Vec::new(),
        }
    }
}

/// How a task is put to a model, and how its answers are read.
///
/// It is pure text in and out, so that every parser is tested with a table and without a model.
pub trait TaskFormat {
    /// A short name for reports.
    fn name(&self) -> &'static str;

    /// The messages that ask the question.
    fn prompt(&self, row: &TaskRow) -> Vec<Message>;

    /// The assistant's answer to train on.
    fn target(&self, row: &TaskRow) -> String;

    /// The final answer in `response`, normalised so that equal answers are equal texts. `None`
    /// when there is none: an unparsed answer is counted, never guessed.
    fn parse(&self, response: &str) -> Option<String>;

    /// Whether `response` is correct; `None` when it, or the reference answer, has no final answer.
    fn score(&self, row: &TaskRow, response: &str) -> Option<bool> {
        Some(self.parse(response)? == self.parse(&row.answer)?)
    }

    /// The row as a training example.
    fn record(&self, row: &TaskRow) -> Record {
        let mut messages = self.prompt(row);
        messages.push(Message::assistant(self.target(row)));
        Record::new(messages).with_source(self.name())
    }
}
