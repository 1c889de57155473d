use std::path::Path;

use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::gsm8k_extraction::{clean, flexible_extract, strict_match};
use super::number::numbers;
use super::{Gsm8kExtraction, TaskFormat, TaskRow};
use crate::{DataError, jsonl};

/// Grade-school word problems with a number for an answer.
///
/// # Examples
///
/// ```
/// use grsap_data::{Gsm8k, TaskFormat, TaskRow};
///
/// let gsm8k = Gsm8k::default();
/// let row = TaskRow::new("Half of 48?", "It is 48/2 = <<48/2=24>>24.\n#### 24");
/// assert_eq!(gsm8k.target(&row), "It is 48/2 = 24.\n#### 24");
/// assert_eq!(gsm8k.score(&row, "48 halved is 24.00 dollars"), Some(true));
/// assert_eq!(gsm8k.score(&row, "I do not know"), None);
/// ```
///
/// # Source
///
/// Cobbe et al., arXiv 2110.14168. The answer is the number after `####`, else the last number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gsm8k {
    /// Added to the question after an empty line; nothing is added when it is empty.
    pub instruction: String,
    /// Leaves the calculator annotations `<<48/2=24>>` out of the targets.
    pub strip_calculator: bool,
    /// How a response's answer is found.
    pub extraction: Gsm8kExtraction,
}

impl Default for Gsm8k {
    /// The bare question; targets without annotations.
    fn default() -> Self {
        Self {
            instruction: String::new(),
            strip_calculator: true,
            extraction: Gsm8kExtraction::default(),
        }
    }
}

impl TaskFormat for Gsm8k {
    fn name(&self) -> &'static str {
        "gsm8k"
    }

    fn prompt(&self, row: &TaskRow) -> Vec<Message> {
        let question = row.question.trim();
        let text = if self.instruction.is_empty() {
            question.to_owned()
        } else {
            format!("{question}\n\n{}", self.instruction)
        };
        vec![Message::user(text)]
    }

    fn target(&self, row: &TaskRow) -> String {
        let answer = row.answer.trim();
        if self.strip_calculator {
            strip_annotations(answer)
        } else {
            answer.to_owned()
        }
    }

    fn parse(&self, response: &str) -> Option<String> {
        match self.extraction {
            Gsm8kExtraction::Lenient => lenient(response),
            Gsm8kExtraction::StrictMatch => strict_match(response),
            Gsm8kExtraction::FlexibleExtract => flexible_extract(response),
        }
    }

    /// The reference answer is what follows its last `####`.
    fn score(&self, row: &TaskRow, response: &str) -> Option<bool> {
        let reference = match self.extraction {
            Gsm8kExtraction::Lenient => {
                let last = row.answer.rfind("####").unwrap_or_default();
                lenient(row.answer.get(last..)?)?
            }
            Gsm8kExtraction::StrictMatch | Gsm8kExtraction::FlexibleExtract => {
                let last = row.answer.rsplit_once("#### ").map(|(_, last)| last);
                clean(last.unwrap_or(&row.answer))
            }
        };
        Some(self.parse(response)? == reference)
    }
}

fn lenient(response: &str) -> Option<String> {
    // A model that writes on past its answer starts a new problem, so the first mark counts; but headings
    // of Markdown have the same mark, so rather the first one with a number right behind it.
    let lines = response.split("####").skip(1);
    let lines = lines.filter_map(|rest| rest.trim_start_matches([' ', '\t']).lines().next());
    let lines: Vec<&str> = lines.collect();
    // "**18**" is an amount, "1. Find the total" is a heading.
    let is_amount = |line: &&&str| {
        let line =
            line.trim_start_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '(' | '['));
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let mut rest_chars = rest.chars();
        let is_numbered = matches!(rest_chars.next(), Some('.' | ')'))
            && rest_chars.next() == Some(' ')
            && rest_chars.next().is_some_and(char::is_alphabetic);
        rest.len() < line.len() && !is_numbered
    };
    let line = lines.iter().find(is_amount).or(lines.first());
    let marked = line.and_then(|line| numbers(line).into_iter().next());
    marked.or_else(|| numbers(&strip_annotations(response)).pop())
}

/// `text` without `<<...>>`. An annotation that is never closed stays.
fn strip_annotations(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((_, tail)) = after.split_once(">>") else {
            break;
        };
        out.push_str(before);
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[derive(Deserialize)]
struct Row {
    question: String,
    answer: String,
}

/// Reads a JSONL file with the fields `question` and `answer`; other fields are passed over.
///
/// # Errors
///
/// As [`read_jsonl`](crate::read_jsonl), [`DataError::Empty`] for a file without rows, and
/// [`DataError::Field`] for a blank question or an answer without a number.
pub fn read_gsm8k(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    let path = path.as_ref();
    let rows = jsonl::read_numbered::<Row>(path)?;
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    rows.into_iter()
        .map(|(line, Row { question, answer })| {
            let field = |field, reason: &str| DataError::Field {
                path: path.into(),
                line,
                field,
                reason: reason.to_owned(),
            };
            if question.trim().is_empty() {
                return Err(field("question", "it is blank"));
            }
            if Gsm8k::default().parse(&answer).is_none() {
                return Err(field("answer", "there is no number in it"));
            }
            Ok(TaskRow::new(question, answer))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let cases = [
            ("#### 18", Some("18")),
            ("steps 1 and 2\n#### $1,000.00", Some("1000")),
            ("####-3", Some("-3")),
            ("#### 18 eggs, not 19", Some("18")),
            ("#### 18\n\nNext: 5 apples\n#### 7", Some("18")),
            ("####\n18", Some("18")),
            ("#### Step 1: add\n3 + 4 = 7\n#### 7", Some("7")),
            (
                "#### Solution\nIt is 9 + 9.\n#### 18\n\nQ: 7 cows",
                Some("18"),
            ),
            ("#### The answer is 5", Some("5")),
            ("#### **18**\n\nQ: more\n#### 7", Some("18")),
            ("#### 1. Find the total\n9 + 9\n#### 18", Some("18")),
            ("#### **1. Find the total**\n9 + 9\n#### 18", Some("18")),
            ("#### (1) Find it\n9 + 9\n#### 18", Some("18")),
            ("#### 18. Done", Some("18")),
            ("The total is ...18", Some("18")),
            ("so 3 + 4 makes 7.", Some("7")),
            ("####", None),
            ("The answer is twelve", None),
            ("", None),
            ("I get 5 ####", Some("5")),
            ("It is 24 <<48/2=25>>", Some("24")),
            ("It is <<48/2=25", Some("25")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Gsm8k::default().parse(text).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn spelling_does_not_decide() {
        let row = TaskRow::new("?", "#### 1,000");
        let gsm8k = Gsm8k::default();
        for right in ["1000", "$1,000", "1000.00.", "#### 1000"] {
            assert_eq!(gsm8k.score(&row, right), Some(true), "{right}");
        }
        assert_eq!(gsm8k.score(&row, "100"), Some(false));
        assert_eq!(gsm8k.score(&row, "-1000"), Some(false));
        assert_eq!(gsm8k.score(&row, "a thousand"), None);
    }

    #[test]
    fn prompts_and_targets_are_configurable() {
        let row = TaskRow::new(" Q? ", "<<1=1>>1\n#### 1");
        let plain = Gsm8k::default();
        assert_eq!(plain.prompt(&row), [Message::user("Q?")]);
        assert_eq!(plain.record(&row).response(), Some("1\n#### 1"));
        let other = Gsm8k {
            instruction: "Go.".into(),
            strip_calculator: false,
            ..Gsm8k::default()
        };
        assert_eq!(other.prompt(&row), [Message::user("Q?\n\nGo.")]);
        assert_eq!(other.target(&row), "<<1=1>>1\n#### 1");
    }

    #[test]
    fn bad_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("g.jsonl");
            std::fs::write(&path, text).unwrap();
            read_gsm8k(path)
        };
        let good = r#####"{"question": "1?", "answer": "#### 1", "id": 3}"#####;
        assert_eq!(read(good).unwrap(), [TaskRow::new("1?", "#### 1")]);
        let bad = format!("{good}\n{}", r#"{"question": "1?", "answer": "one"}"#);
        let error = read(&bad).unwrap_err().to_string();
        assert!(
            error.ends_with("g.jsonl:2: field answer: there is no number in it"),
            "{error}"
        );
        let bad = format!("{good}\n{}", r#"{"question": " ", "answer": "1"}"#);
        let error = read(&bad).unwrap_err().to_string();
        assert!(error.contains("field question"), "{error}");
        let error = read(r#"{"question": "1?"}"#).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("missing field `answer`"), "{source}");
        assert!(matches!(read(""), Err(DataError::Empty { .. })));
    }
}
