use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::math_answer::last_boxed;
use super::sentiment::is_negation;
use super::{TaskFormat, TaskRow};

/// Which questions [`MultipleChoice`] puts; it gives them their name and their instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceTask {
    /// Any.
    #[default]
    General,
    /// How a described scene goes on: Zellers et al., arXiv 1905.07830.
    HellaSwag,
    /// Which of two fills a gap: Sakaguchi et al., arXiv 1907.10641.
    WinoGrande,
    /// Medical examinations: Jin et al., arXiv 2009.13081.
    MedQa,
}

/// Questions that are answered with the letter of a choice, such as MedQA, HellaSwag and WinoGrande.
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
    /// Which questions they are.
    pub task: ChoiceTask,
    /// Put after the choices.
    pub instruction: String,
    /// The last letter that counts as an answer.
    pub last_letter: char,
}

impl Default for MultipleChoice {
    /// Letters A to E.
    fn default() -> Self {
        Self {
            task: ChoiceTask::General,
            instruction: "Answer with the letter of the right choice.".into(),
            last_letter: 'E',
        }
    }
}

impl MultipleChoice {
    /// The format of a task, with an instruction in our own words.
    pub fn new(task: ChoiceTask) -> Self {
        let (instruction, last_letter) = match task {
            ChoiceTask::General => return Self::default(),
            ChoiceTask::HellaSwag => (
                "Which of these endings follows most sensibly? Answer with its letter.",
                'D',
            ),
            ChoiceTask::WinoGrande => (
                "Which of the two belongs in the gap marked with _? Answer with its letter.",
                'B',
            ),
            ChoiceTask::MedQa => (
                "Which choice is the best answer to this medical question? Answer with its letter.",
                'E',
            ),
        };
        Self {
            task,
            instruction: instruction.into(),
            last_letter,
        }
    }
}

impl TaskFormat for MultipleChoice {
    fn name(&self) -> &'static str {
        match self.task {
            ChoiceTask::General => "multiple_choice",
            ChoiceTask::HellaSwag => "hellaswag",
            ChoiceTask::WinoGrande => "winogrande",
            ChoiceTask::MedQa => "medqa",
        }
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

    /// Tried in turn: a letter in `\boxed{}`, a letter named as the answer ("the answer is B"), a
    /// letter that the response begins with or consists of ("B.", "(B) blue"), one in brackets, one
    /// that stands alone. The first way that finds anything decides, and only if it finds a single
    /// letter.
    fn parse(&self, response: &str) -> Option<String> {
        if let Some(letter) = last_boxed(response).and_then(|boxed| self.boxed_letter(boxed)) {
            return Some(letter.to_string());
        }
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

    /// As [`parse`](Self::parse); a response that is the text of one choice and nothing else counts
    /// as its letter.
    fn score(&self, row: &TaskRow, response: &str) -> Option<bool> {
        let answer = self.parse(&row.answer)?;
        let given = self
            .parse(response)
            .or_else(|| spelled_out(&row.choices, response))?;
        Some(given == answer)
    }
}

/// The letter of the one choice whose text `response` is.
fn spelled_out(choices: &[String], response: &str) -> Option<String> {
    let plain = |text: &str| {
        text.trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase()
    };
    let response = plain(response);
    let mut letters = ('A'..='Z')
        .zip(choices)
        .filter(|(_, choice)| !response.is_empty() && plain(choice) == response);
    let (letter, _) = letters.next()?;
    letters.next().is_none().then(|| letter.to_string())
}

/// What may follow a letter but not the article "A".
const AFTER_LABEL: &[&str] = &["or", "and", "because", "since", "as", "but", "is", "was"];

/// What a letter after it names something else than a choice: "vitamin C", "hepatitis B".
const NAMED_BY_LETTER: &[&str] = &[
    "class",
    "complex",
    "factor",
    "figure",
    "grade",
    "group",
    "hepatitis",
    "influenza",
    "part",
    "plan",
    "protein",
    "stage",
    "step",
    "table",
    "type",
    "vitamin",
];

/// A word of a response.
struct Word {
    text: String,
    /// The choice that it spells: one capital letter, whatever stands around it.
    letter: Option<char>,
    /// It can be an answer: not the article "A" nor the pronoun "I", which a word follows at once.
    is_label: bool,
    is_bracketed: bool,
    /// Another letter is named beside it: "B or C".
    is_listed: bool,
}

/// Whether a letter is one of several: "A or B", "A, B".
fn is_listed(words: &[Word], raw: &[&str], at: usize) -> bool {
    let other = |at: usize| words.get(at).is_some_and(|word| word.letter.is_some());
    let joins = |at: usize| {
        let word = raw.get(at).map(|word| word.to_lowercase());
        matches!(
            word.as_deref(),
            Some("or" | "and" | "nor" | "/" | "&" | "+")
        )
    };
    let has_comma = |at: usize| raw.get(at).is_some_and(|word| word.ends_with(','));
    let before = at.checked_sub(1).is_some_and(|before| {
        (has_comma(before) && other(before))
            || (joins(before) && before.checked_sub(1).is_some_and(other))
    });
    let after = (has_comma(at) && other(at + 1)) || (joins(at + 1) && other(at + 2));
    before || after
}

/// Whether a letter is said not to be the answer: "not B", "it cannot be B", "(B) is wrong". What stands
/// behind a stop or a comma is the text of the choice or another thought.
fn is_denied(words: &[Word], raw: &[&str], at: usize) -> bool {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    let ends = |at: usize| {
        let word = raw.get(at).copied().unwrap_or_default();
        let word = word.trim_end_matches([')', ']', '}', '*', '_', '"', '\'', '`']);
        word.is_empty() || word.ends_with([',', '.', ';', ':', '!', '?'])
    };
    let is_filler = |text: &str| {
        matches!(
            text,
            "be" | "the" | "is" | "answer" | "option" | "choice" | ""
        )
    };
    let denied_before = (0..at)
        .rev()
        .take_while(|&before| !ends(before))
        .map(text)
        .find(|text| !is_filler(text))
        .is_some_and(is_negation);
    // "(C) Cannot be determined" is the text of a choice; "C cannot be right" is not.
    let is_bare = raw
        .get(at)
        .is_some_and(|word| word.ends_with(char::is_alphanumeric));
    let (first, second, third) = (text(at + 1), text(at + 2), text(at + 3));
    let denied_at_once = is_bare && is_negation(first) && first != "no";
    let is_wrong = matches!(second, "wrong" | "incorrect" | "false");
    let is_not =
        is_negation(second) && (is_bare || matches!(third, "right" | "correct" | "true" | "the"));
    let denied_after = !ends(at) && matches!(first, "is" | "was") && (is_wrong || is_not);
    denied_before || denied_at_once || denied_after
}

impl MultipleChoice {
    fn letter(&self, core: &str) -> Option<char> {
        let mut chars = core.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if ('A'..=self.last_letter).contains(&c) => Some(c),
            _ => None,
        }
    }

    /// The letter in "D", "(D)" or `\text{D}`.
    fn boxed_letter(&self, boxed: &str) -> Option<char> {
        let bare = boxed.trim().trim_start_matches("\\text");
        self.letter(bare.trim_matches(|c: char| !c.is_alphanumeric()))
    }

    fn words(&self, response: &str) -> Vec<Word> {
        let raw: Vec<&str> = response.split_whitespace().collect();
        let mut words = self.words_of(&raw);
        let is_denied: Vec<bool> = (0..words.len())
            .map(|at| is_denied(&words, &raw, at))
            .collect();
        let is_listed: Vec<bool> = (0..words.len())
            .map(|at| is_listed(&words, &raw, at))
            .collect();
        for ((word, is_denied), is_listed) in words.iter_mut().zip(is_denied).zip(is_listed) {
            word.is_label &= !is_denied;
            word.is_bracketed &= !is_denied;
            word.is_listed = is_listed;
        }
        words
    }

    fn words_of(&self, raw: &[&str]) -> Vec<Word> {
        raw.iter()
            .enumerate()
            .map(|(at, word)| {
                let core = word.trim_matches(|c: char| !c.is_alphanumeric());
                let letter = self.letter(core);
                let is_bare = *word == core;
                let next_is_noun = raw.get(at + 1).is_some_and(|next| {
                    next.starts_with(char::is_alphanumeric) && !AFTER_LABEL.contains(next)
                });
                let is_named = at
                    .checked_sub(1)
                    .and_then(|before| raw.get(before))
                    .is_some_and(|before| {
                        let before = before.trim_start_matches(|c: char| !c.is_alphanumeric());
                        let before = before.trim_end_matches([')', '*', '_', '"', '\'']);
                        NAMED_BY_LETTER.contains(&before.to_lowercase().as_str())
                    });
                let is_article = matches!(letter, Some('A' | 'I')) && is_bare && next_is_noun;
                Word {
                    text: core.to_lowercase().replace('\u{2019}', "'"),
                    letter,
                    is_label: letter.is_some() && !is_article && !is_named,
                    is_bracketed: letter.is_some() && !is_named && word.contains(['(', '[', '{']),
                    is_listed: false,
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
        && !word.is_listed
        && words
            .iter()
            .take(at)
            .rev()
            .map(|word| word.text.as_str())
            .find(|text| !matches!(*text, "is" | ""))
            .is_some_and(|text| matches!(text, "answer" | "option" | "choice"))
}

/// The response begins with it, and not with a list of letters.
fn is_leading(_: &[Word], at: usize, word: &Word) -> bool {
    at == 0 && word.is_label && !word.is_listed
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
            ("The answer is B or C.", None),
            ("The answer is A, B", None),
            ("Option A and B", None),
            ("The answer is not B.", None),
            ("It cannot be B.", None),
            ("The answer isn't (B).", None),
            ("B is wrong.", None),
            ("The answer is not B but C.", Some("C")),
            ("Not A. The answer is D.", Some("D")),
            ("Oranges have vitamins (vitamin C).", None),
            ("The answer isn\u{2019}t B.", None),
            ("The answer is B, not A.", Some("B")),
            ("C. Cannot be determined", Some("C")),
            ("The correct answer is (C) Cannot be determined.", Some("C")),
            ("D. Not enough information", Some("D")),
            ("The answer is D. Neither of these", Some("D")),
            ("B. is not allowed to leave", Some("B")),
            ("No, the answer is B.", Some("B")),
            ("Is A correct? No. The answer is B.", Some("B")),
            (
                "The answer is C.\n\n- A: too old.\n- B: too young.",
                Some("C"),
            ),
            ("**C**\n\n- A is wrong.\n- B is too early.", Some("C")),
            ("It belongs to the control group. C is right.", Some("C")),
            ("(A) is wrong. (B) is wrong. (C) is right.", Some("C")),
            ("(B) is incorrect. (C) is correct.", Some("C")),
            ("**A** is incorrect, **B** is correct.", Some("B")),
            ("A) is false. B) is false. C) is true.", Some("C")),
            ("Option (B) is incorrect.", None),
            ("**B** is wrong.", None),
            ("The answer is **not** B.", None),
            ("The answer is **NOT** (A).", None),
            (
                "The correct answer is **C**. Option **A** is incorrect. Option **B** is incorrect.",
                Some("C"),
            ),
            ("The answer is C No change", Some("C")),
            ("The answer is A + B", None),
            ("**Vitamin** C", None),
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
    fn outputs_of_models_are_read() {
        let med_qa = MultipleChoice::new(ChoiceTask::MedQa);
        let cases = [
            ("The best answer is **C**.", Some("C")),
            ("**Answer: B) Rest and fluids**", Some("B")),
            ("Answer: (D)", Some("D")),
            ("The correct answer is:\n\nE. None of these", Some("E")),
            ("C\n\nExplanation: A and B are less likely.", Some("C")),
            ("\\boxed{D}", Some("D")),
            (
                "The patient has a cold. A viral cause is likely, so the answer is A.",
                Some("A"),
            ),
            ("Option B is correct.", Some("B")),
            ("I would choose option (A).", Some("A")),
            ("As an AI, I cannot give medical advice.", None),
            ("Vitamin C helps", None),
            ("Hepatitis B. It is a virus.", None),
            ("\\boxed{\\text{E}}", Some("E")),
            ("Either A. or B. would do", None),
            ("None of the above", None),
        ];
        for (text, expected) in cases {
            assert_eq!(med_qa.parse(text).as_deref(), expected, "{text:?}");
        }
        // A letter that is no choice of the task.
        let wino_grande = MultipleChoice::new(ChoiceTask::WinoGrande);
        assert_eq!(wino_grande.parse("C"), None);
        assert_eq!(wino_grande.parse("A: the cup").as_deref(), Some("A"));
        assert_eq!(MultipleChoice::new(ChoiceTask::HellaSwag).parse("E."), None);
    }

    #[test]
    fn a_choice_may_be_spelled_out() {
        let format = MultipleChoice::new(ChoiceTask::WinoGrande);
        let row = TaskRow {
            choices: vec!["the cup".into(), "the box".into()],
            ..TaskRow::new("The cup was too big for the box, so _ broke.", "B")
        };
        assert_eq!(format.score(&row, "The box."), Some(true));
        assert_eq!(format.score(&row, "\"the cup\""), Some(false));
        assert_eq!(format.score(&row, "It was the box."), None);
        let twice = TaskRow {
            choices: vec!["it".into(), "It".into()],
            ..row
        };
        assert_eq!(format.score(&twice, "it"), None);
        assert_eq!(format.name(), "winogrande");
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
