use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::{TaskFormat, TaskRow};

/// Questions that are answered with the letter of a choice, such as MedQA and HellaSwag.
///
/// # Examples
///
/// ```
/// use grsap_data::{MultipleChoice, TaskFormat, TaskRow};
///
/// let format = MultipleChoice::default();
/// let row = TaskRow {
///     choices: vec!["red".into(), "blue".into()],
///     ..TaskRow::new("The colour of a clear sky?", "B")
/// };
/// assert_eq!(format.score(&row, "The answer is (B)."), Some(true));
/// // The article is not an answer.
/// assert_eq!(format.score(&row, "A clear sky has a colour."), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultipleChoice {
    /// Put after the choices.
    pub instruction: String,
    /// The last letter that counts as an answer.
    pub last_letter: char,
}

impl Default for MultipleChoice {
    /// Letters A to E.
    fn default() -> Self {
        Self {
            instruction: "Answer with the letter of the right choice.".into(),
            last_letter: 'E',
        }
    }
}

impl TaskFormat for MultipleChoice {
    fn name(&self) -> &'static str {
        "multiple_choice"
    }

    fn prompt(&self, row: &TaskRow) -> Vec<Message> {
        let mut text = format!("{}\n", row.question.trim());
        for (letter, choice) in ('A'..='Z').zip(&row.choices) {
            text.push_str(&format!("\n{letter}. {}", choice.trim()));
        }
        text.push_str(&format!("\n\n{}", self.instruction));
        vec![Message::user(text)]
    }

    fn target(&self, row: &TaskRow) -> String {
        row.answer.trim().to_owned()
    }

    /// Tried in turn: a letter named as the answer ("the answer is B"), a letter that the response
    /// begins with or consists of ("B.", "(B) blue"), one in brackets, one that stands alone. The
    /// first way that finds anything decides, and only if it finds a single letter.
    fn parse(&self, response: &str) -> Option<String> {
        let words = self.words(response);
        let ways: [Way; 4] = [is_announced, is_leading, is_bracketed, is_label];
        for way in ways {
            let mut letters = words
                .iter()
                .enumerate()
                .filter(|(at, word)| way(&words, *at, word))
                .filter_map(|(_, word)| word.letter);
            if let Some(first) = letters.next() {
                return letters
                    .all(|letter| letter == first)
                    .then(|| first.to_string());
            }
        }
        None
    }
}

/// What may follow a letter but not the article "A".
const AFTER_LABEL: &[&str] = &["or", "and", "because", "since", "as", "but", "is", "was"];

/// A word of a response.
struct Word {
    text: String,
    /// The choice that it spells: one capital letter, whatever stands around it.
    letter: Option<char>,
    /// It can be an answer: not the article "A" nor the pronoun "I", which a word follows at once.
    is_label: bool,
    is_bracketed: bool,
}

impl MultipleChoice {
    fn words(&self, response: &str) -> Vec<Word> {
        let raw: Vec<&str> = response.split_whitespace().collect();
        raw.iter()
            .enumerate()
            .map(|(at, word)| {
                let core = word.trim_matches(|c: char| !c.is_alphanumeric());
                let mut chars = core.chars();
                let letter = match (chars.next(), chars.next()) {
                    (Some(c), None) if ('A'..=self.last_letter).contains(&c) => Some(c),
                    _ => None,
                };
                let is_bare = *word == core;
                let next_is_noun = raw.get(at + 1).is_some_and(|next| {
                    next.starts_with(char::is_alphanumeric) && !AFTER_LABEL.contains(next)
                });
                let is_article = matches!(letter, Some('A' | 'I')) && is_bare && next_is_noun;
                Word {
                    text: core.to_lowercase(),
                    letter,
                    is_label: letter.is_some() && !is_article,
                    is_bracketed: letter.is_some() && word.contains(['(', '[', '{']),
                }
            })
            .collect()
    }
}

/// A way to tell whether the word at a position is the answer.
type Way = fn(&[Word], usize, &Word) -> bool;

/// "answer", "option" or "choice" stands right before, with at most "is" between.
fn is_announced(words: &[Word], at: usize, word: &Word) -> bool {
    word.is_label
        && words
            .iter()
            .take(at)
            .rev()
            .map(|word| word.text.as_str())
            .find(|text| !matches!(*text, "is" | ""))
            .is_some_and(|text| matches!(text, "answer" | "option" | "choice"))
}

/// The response begins with it, and not with a list of letters.
fn is_leading(words: &[Word], at: usize, word: &Word) -> bool {
    let is_list = words
        .get(at + 1)
        .is_some_and(|next| matches!(next.text.as_str(), "or" | "and"));
    at == 0 && word.is_label && !is_list
}

fn is_bracketed(_: &[Word], _: usize, word: &Word) -> bool {
    word.is_bracketed
}

fn is_label(_: &[Word], _: usize, word: &Word) -> bool {
    word.is_label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_and_articles_are_not() {
        let cases = [
            ("B", Some("B")),
            ("B.", Some("B")),
            ("(C)", Some("C")),
            ("**D**", Some("D")),
            ("A", Some("A")),
            ("A. red", Some("A")),
            ("A) red", Some("A")),
            ("B blue", Some("B")),
            ("The answer is B.", Some("B")),
            ("Answer: C", Some("C")),
            ("The correct option is (D) because A is wrong.", Some("D")),
            ("I think it is B", Some("B")),
            ("The answer is A because of B", Some("A")),
            ("A is right", Some("A")),
            ("A robe takes 2 bolts", None),
            ("a red one", None),
            ("I do not know", None),
            ("Either B or C", None),
            ("(B) or (C)", None),
            ("The answer is A or the answer is B", None),
            ("A man walks in. The answer is C", Some("C")),
            ("F", None),
            ("blue", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                MultipleChoice::default().parse(text).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn choices_are_lettered() {
        let row = TaskRow {
            choices: vec!["red".into(), "blue".into()],
            ..TaskRow::new("Colour?", "B")
        };
        let prompt = MultipleChoice::default().prompt(&row);
        assert_eq!(
            prompt[0].content,
            "Colour?\n\nA. red\nB. blue\n\nAnswer with the letter of the right choice."
        );
    }
}
