use std::path::Path;

use serde_json::Value;

use super::TaskRow;
use super::math_answer::last_boxed;
use crate::DataError;
use crate::table::{TableRow, read_table};

fn rows(
    path: &Path,
    convert: impl Fn(&TableRow) -> Result<TaskRow, DataError>,
) -> Result<Vec<TaskRow>, DataError> {
    read_table(path)?.iter().map(convert).collect()
}

/// Reads MATH: `problem` and `solution`, for [`Math`](crate::Math).
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set); a solution without `\boxed{}` is one too.
pub fn read_math(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let solution = row.text("solution")?;
        if last_boxed(solution).is_none() {
            return Err(row.error("solution", "there is no \\boxed{} in it"));
        }
        Ok(TaskRow::new(row.text("problem")?, solution))
    })
}

/// Reads HellaSwag: `ctx`, `endings` and `label`, the number of the right ending from 0.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set). The test part has no labels and is an error.
pub fn read_hella_swag(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let endings = row.texts("endings")?;
        let answer = letter(row, "label", row.integer("label")?, endings.len())?;
        Ok(TaskRow {
            choices: endings,
            ..TaskRow::new(row.text("ctx")?, answer)
        })
    })
}

/// Reads WinoGrande: `sentence` with a gap `_`, `option1`, `option2` and `answer`, 1 or 2.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set). The test part has no answers and is an error.
pub fn read_wino_grande(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let sentence = row.text("sentence")?;
        if !sentence.contains('_') {
            return Err(row.error("sentence", "there is no gap `_` in it"));
        }
        let choices = vec![
            row.text("option1")?.to_owned(),
            row.text("option2")?.to_owned(),
        ];
        let answer = letter(row, "answer", row.integer("answer")? - 1, choices.len())?;
        Ok(TaskRow {
            choices,
            ..TaskRow::new(sentence, answer)
        })
    })
}

/// Reads MedQA: `question`, `options` by letter, and `answer_idx`, the letter of the right one.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set); options that are not lettered from A on are one
/// too.
pub fn read_med_qa(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let Value::Object(options) = row.value("options")? else {
            return Err(row.error("options", "expected an object of texts by letter"));
        };
        let choices: Option<Vec<String>> = ('A'..='Z')
            .take(options.len())
            .map(|letter| Some(options.get(&letter.to_string())?.as_str()?.to_owned()))
            .collect();
        let choices = choices
            .filter(|choices| !choices.is_empty())
            .ok_or_else(|| row.error("options", "expected texts under the letters from A on"))?;
        let answer = row.text("answer_idx")?.trim();
        if !options.contains_key(answer) {
            return Err(row.error("answer_idx", format!("{answer:?} is none of the options")));
        }
        Ok(TaskRow {
            choices,
            ..TaskRow::new(row.text("question")?, answer)
        })
    })
}

/// Reads SST-2: `sentence` and `label`, 1 for positive and 0 for negative.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set). The test part has labels of -1 and is an error.
pub fn read_sst2(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let answer = if row.flag("label")? {
            "positive"
        } else {
            "negative"
        };
        Ok(TaskRow::new(row.text("sentence")?, answer))
    })
}

/// Reads data in the form of Alpaca: `instruction`, `input`, which may be blank and is put after the
/// instruction, and `output`.
///
/// # Errors
///
/// As [`read_safety_set`](crate::read_safety_set).
pub fn read_alpaca(path: impl AsRef<Path>) -> Result<Vec<TaskRow>, DataError> {
    rows(path.as_ref(), |row| {
        let instruction = row.text("instruction")?.trim();
        let question = match row.extra_text("input")? {
            Some(input) => format!("{instruction}\n\n{}", input.trim()),
            None => instruction.to_owned(),
        };
        Ok(TaskRow::new(question, row.text("output")?))
    })
}

/// The letter of choice `index`, counted from 0.
fn letter(
    row: &TableRow,
    field: &'static str,
    index: i64,
    num_choices: usize,
) -> Result<String, DataError> {
    usize::try_from(index)
        .ok()
        .filter(|index| *index < num_choices)
        .and_then(|index| ('A'..='Z').nth(index))
        .map(String::from)
        .ok_or_else(|| row.error(field, format!("it names none of the {num_choices} choices")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reader = fn(std::path::PathBuf) -> Result<Vec<TaskRow>, DataError>;

    fn read(reader: Reader, name: &str, text: &str) -> Result<Vec<TaskRow>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        reader(path)
    }

    fn row(question: &str, answer: &str, choices: &[&str]) -> TaskRow {
        TaskRow {
            choices: choices.iter().copied().map(str::to_owned).collect(),
            ..TaskRow::new(question, answer)
        }
    }

    #[test]
    fn published_rows_are_read() {
        let cases: [(Reader, &str, &str, TaskRow); 7] = [
            (
                read_math,
                "m.jsonl",
                r#"{"problem": "1+1?", "level": "Level 1", "type": "Algebra", "solution": "$\\boxed{2}$"}"#,
                row("1+1?", "$\\boxed{2}$", &[]),
            ),
            (
                read_hella_swag,
                "h.jsonl",
                r#"{"ind": 1, "ctx": "A man", "endings": ["sits.", "flies.", "is red.", "2"], "label": "1", "split": "val"}"#,
                row("A man", "B", &["sits.", "flies.", "is red.", "2"]),
            ),
            (
                read_wino_grande,
                "w.jsonl",
                r#"{"qID": "x", "sentence": "The cup fits, _ is small.", "option1": "cup", "option2": "box", "answer": "1"}"#,
                row("The cup fits, _ is small.", "A", &["cup", "box"]),
            ),
            (
                read_med_qa,
                "q.jsonl",
                r#"{"question": "Cold?", "answer": "Rest", "options": {"A": "Run", "B": "Rest"}, "meta_info": "step1", "answer_idx": "B"}"#,
                row("Cold?", "B", &["Run", "Rest"]),
            ),
            (
                read_sst2,
                "s.tsv",
                "sentence\tlabel\na fine film \t1\n",
                row("a fine film ", "positive", &[]),
            ),
            (
                read_alpaca,
                "a.json",
                r#"[{"instruction": "Add.", "input": "1, 2", "output": "3"}]"#,
                row("Add.\n\n1, 2", "3", &[]),
            ),
            (
                read_alpaca,
                "a.json",
                r#"[{"instruction": "Greet.", "input": "", "output": "Hi."}]"#,
                row("Greet.", "Hi.", &[]),
            ),
        ];
        for (reader, name, text, expected) in cases {
            assert_eq!(read(reader, name, text).unwrap(), [expected], "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases: [(Reader, &str, &str, &str); 9] = [
            (
                read_math,
                "m.jsonl",
                r#"{"problem": "1+1?", "solution": "2"}"#,
                "m.jsonl:1: field solution: there is no \\boxed{} in it",
            ),
            (
                read_hella_swag,
                "h.jsonl",
                r#"{"ctx": "A man", "endings": ["sits."], "label": "1"}"#,
                "field label: it names none of the 1 choices",
            ),
            (
                read_hella_swag,
                "h.jsonl",
                r#"{"ctx": "A man", "endings": ["sits."], "label": ""}"#,
                "field label: expected a whole number, got \"\"",
            ),
            (
                read_wino_grande,
                "w.jsonl",
                r#"{"sentence": "No gap.", "option1": "a", "option2": "b", "answer": "1"}"#,
                "field sentence: there is no gap `_` in it",
            ),
            (
                read_wino_grande,
                "w.jsonl",
                r#"{"sentence": "_", "option1": "a", "option2": "b", "answer": "3"}"#,
                "field answer: it names none of the 2 choices",
            ),
            (
                read_med_qa,
                "q.jsonl",
                r#"{"question": "Cold?", "options": {"A": "Run", "C": "Rest"}, "answer_idx": "A"}"#,
                "field options: expected texts under the letters from A on",
            ),
            (
                read_med_qa,
                "q.jsonl",
                r#"{"question": "Cold?", "options": {"A": "Run"}, "answer_idx": "B"}"#,
                "field answer_idx: \"B\" is none of the options",
            ),
            (
                read_sst2,
                "s.tsv",
                "sentence\tlabel\na\t-1\n",
                "s.tsv:2: field label: expected true or false, got \"-1\"",
            ),
            (
                read_alpaca,
                "a.json",
                r#"[{"prompt": "Greet.", "output": "Hi."}]"#,
                "field instruction: it is missing; there are: prompt, output",
            ),
        ];
        for (reader, name, text, expected) in cases {
            let error = read(reader, name, text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
