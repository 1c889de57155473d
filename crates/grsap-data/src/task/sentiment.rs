use std::fs;
use std::path::Path;

use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::{TaskFormat, TaskRow};
use crate::DataError;

const POSITIVE: &str = "positive";
const NEGATIVE: &str = "negative";

/// Whether a movie review is positive or negative.
///
/// # Examples
///
/// ```
/// use grsap_data::{Sentiment, TaskFormat, TaskRow};
///
/// let sentiment = Sentiment::default();
/// let row = TaskRow::new("A splendid film.", "positive");
/// assert_eq!(sentiment.score(&row, "The review is Positive."), Some(true));
/// assert_eq!(sentiment.score(&row, "negative"), Some(false));
/// // Denying one label does not name the other: it could be neutral.
/// assert_eq!(sentiment.score(&row, "It is not negative."), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sentiment {
    /// Put before the review, with an empty line between.
    pub instruction: String,
}

impl Default for Sentiment {
    fn default() -> Self {
        Self {
            instruction: "Is this movie review positive or negative? Answer with one word.".into(),
        }
    }
}

impl TaskFormat for Sentiment {
    fn name(&self) -> &'static str {
        "sentiment"
    }

    fn prompt(&self, row: &TaskRow) -> Vec<Message> {
        let text = format!("{}\n\n{}", self.instruction, row.question.trim());
        vec![Message::user(text)]
    }

    fn target(&self, row: &TaskRow) -> String {
        row.answer.trim().to_owned()
    }

    /// The one label that is said and not denied. Both, neither, or only "not positive": `None`.
    fn parse(&self, response: &str) -> Option<String> {
        let text = response.to_lowercase().replace('’', "'");
        let words: Vec<&str> = text
            .split(|c: char| !(c.is_alphanumeric() || c == '\''))
            .filter(|word| !word.is_empty())
            .collect();
        let says = |label: &str| {
            words.iter().enumerate().any(|(at, word)| {
                let near = words.get(at.saturating_sub(NEGATION_REACH)..at);
                word.trim_matches('\'') == label
                    && !near
                        .unwrap_or_default()
                        .iter()
                        .any(|word| is_negation(word))
            })
        };
        match (says(POSITIVE), says(NEGATIVE)) {
            (true, false) => Some(POSITIVE.to_owned()),
            (false, true) => Some(NEGATIVE.to_owned()),
            _ => None,
        }
    }
}

/// How many words a negation reaches: "not a very positive".
const NEGATION_REACH: usize = 3;

pub(super) fn is_negation(word: &str) -> bool {
    matches!(
        word,
        "not" | "no" | "non" | "never" | "neither" | "nor" | "hardly" | "cannot" | "without"
    ) || word.ends_with("n't")
}

/// The rows of a sentiment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentimentRows {
    /// Reviews labelled "positive" or "negative".
    pub rows: Vec<TaskRow>,
    /// Reviews between the two thresholds, left out.
    pub num_dropped: usize,
}

/// Reads lines of id, mean rating and text, parted by tabs. A rating above `threshold` is positive,
/// one below `-threshold` negative; what lies between is dropped and counted.
///
/// A line that is not UTF-8 is read as Latin-1.
///
/// # Errors
///
/// [`DataError::Io`], [`DataError::Field`] with the line of a row that lacks a column or has a
/// rating that is no number, and [`DataError::Empty`].
///
/// # Source
///
/// The file `movieReviewSnippets_GroundTruth.txt` of Hutto and Gilbert, ICWSM 2014: ratings from -4
/// to 4; 0.5 is the usual threshold.
pub fn read_sentiment(path: impl AsRef<Path>, threshold: f64) -> Result<SentimentRows, DataError> {
    let path = path.as_ref();
    if !(threshold.is_finite() && threshold >= 0.0) {
        return Err(DataError::Config {
            field: "threshold",
            expected: "finite and at least 0",
            got: threshold.to_string(),
        });
    }
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut rows = Vec::new();
    let mut num_dropped = 0;
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = decode(raw);
        if text.trim().is_empty() {
            continue;
        }
        let field = |field, reason: String| DataError::Field {
            path: path.into(),
            line: index + 1,
            field,
            reason,
        };
        let mut columns = text.splitn(3, '\t').skip(1);
        let score = columns
            .next()
            .ok_or_else(|| field("score", "the column is missing".into()))?
            .trim();
        let review = columns
            .next()
            .ok_or_else(|| field("text", "the column is missing".into()))?
            .trim();
        let rating = score
            .parse::<f64>()
            .ok()
            .filter(|rating| rating.is_finite())
            .ok_or_else(|| field("score", format!("{score:?} is not a finite number")))?;
        if review.is_empty() {
            return Err(field("text", "it is blank".into()));
        }
        if rating > threshold {
            rows.push(TaskRow::new(review, POSITIVE));
        } else if rating < -threshold {
            rows.push(TaskRow::new(review, NEGATIVE));
        } else {
            num_dropped += 1;
        }
    }
    if rows.is_empty() && num_dropped == 0 {
        return Err(DataError::Empty { path: path.into() });
    }
    Ok(SentimentRows { rows, num_dropped })
}

/// Latin-1 maps every byte to the character of the same number, so it never fails.
fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_denials_are_not() {
        let cases = [
            ("positive", Some("positive")),
            ("Negative.", Some("negative")),
            ("**Positive**", Some("positive")),
            ("'positive'", Some("positive")),
            ("The sentiment of this review is negative", Some("negative")),
            ("positive, positive!", Some("positive")),
            ("not positive", None),
            ("isn't positive", None),
            ("isn’t positive", None),
            ("not a very positive one", None),
            ("non-positive", None),
            ("negative, not positive", Some("negative")),
            ("It is positive. It is not negative.", Some("positive")),
            ("neither positive nor negative", None),
            ("positive or negative", None),
            ("positively glowing", None),
            ("nonnegative", None),
            ("great film", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Sentiment::default().parse(text).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_row_becomes_a_record() {
        let record = Sentiment::default().record(&TaskRow::new("Dull.", "negative"));
        assert!(record.messages[0].content.ends_with("\n\nDull."));
        assert_eq!(record.response(), Some("negative"));
        assert!(record.validate().is_ok());
    }

    fn read(bytes: &[u8]) -> Result<SentimentRows, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.txt");
        fs::write(&path, bytes).unwrap();
        read_sentiment(path, 0.5)
    }

    #[test]
    fn the_file_is_read() {
        let read =
            read(b"1\t2.5\tGood\r\n2\t-0.6\tcaf\xe9\tbad\r\n3\t0.5\tMeh\n\n4\t-0.5\tMeh").unwrap();
        assert_eq!(
            read.rows,
            [
                TaskRow::new("Good", "positive"),
                TaskRow::new("café\tbad", "negative")
            ]
        );
        assert_eq!(read.num_dropped, 2);
    }

    #[test]
    fn bad_lines_are_named() {
        let cases: [(&[u8], &str); 4] = [
            (
                b"1\t1.0\tGood\n2\n",
                "m.txt:2: field score: the column is missing",
            ),
            (b"1\t1.0", "m.txt:1: field text: the column is missing"),
            (
                b"1\tNaN\tGood",
                "m.txt:1: field score: \"NaN\" is not a finite number",
            ),
            (b"1\t1.0\t \n", "m.txt:1: field text: it is blank"),
        ];
        for (bytes, expected) in cases {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
        assert!(matches!(read(b"\n\n"), Err(DataError::Empty { .. })));
        assert!(read_sentiment("x", f64::NAN).is_err());
    }
}
