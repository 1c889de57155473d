use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::{TaskFormat, TaskRow};

/// Instructions and answers to them: training data without an accuracy.
///
/// The question of a row is the instruction with its input after it, see
/// [`read_alpaca`](crate::read_alpaca). There is no single right answer, so nothing is parsed and
/// every response is unscored.
///
/// # Examples
///
/// ```
/// use grsap_data::{Alpaca, TaskFormat, TaskRow};
///
/// let row = TaskRow::new("Name a colour.", "Blue.");
/// assert_eq!(Alpaca.record(&row).response(), Some("Blue."));
/// assert_eq!(Alpaca.score(&row, "Blue."), None);
/// ```
///
/// # Source
///
/// The data form of Stanford Alpaca (instruction, input, output); the chat template takes the place of
/// its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alpaca;

impl TaskFormat for Alpaca {
    fn name(&self) -> &'static str {
        "alpaca"
    }

    fn prompt(&self, row: &TaskRow) -> Vec<Message> {
        vec![Message::user(row.question.trim())]
    }

    fn target(&self, row: &TaskRow) -> String {
        row.answer.trim().to_owned()
    }

    fn parse(&self, _: &str) -> Option<String> {
        None
    }
}
