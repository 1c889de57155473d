use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A prompt, with what its set says of it and of a response to it. `None` is what it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SafetyRow {
    /// What is asked.
    pub prompt: String,
    /// Whether the prompt asks for something harmful.
    pub prompt_harmful: Option<bool>,
    /// An answer to it.
    pub response: Option<String>,
    /// Whether the answer is harmful.
    pub response_harmful: Option<bool>,
    /// Whether the answer refuses.
    pub response_refusal: Option<bool>,
    /// The set's own category, several parted by commas.
    pub category: Option<String>,
}

/// The rows of a set, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SafetyRows {
    /// The rows, duplicates included.
    pub rows: Vec<SafetyRow>,
    /// Rows whose prompt and response an earlier row has, but for case and spacing.
    pub num_duplicates: usize,
    /// Different prompts, but for case and spacing.
    pub num_prompts: usize,
    /// Rows left out because the set withholds their prompt.
    pub num_withheld: usize,
}

impl SafetyRows {
    pub(super) fn new(rows: Vec<SafetyRow>, num_withheld: usize) -> Self {
        let mut prompts = BTreeSet::new();
        let mut exchanges = BTreeSet::new();
        for row in &rows {
            let prompt = normalised(&row.prompt);
            exchanges.insert((prompt.clone(), row.response.as_deref().map(normalised)));
            prompts.insert(prompt);
        }
        Self {
            num_duplicates: rows.len() - exchanges.len(),
            num_prompts: prompts.len(),
            num_withheld,
            rows,
        }
    }

    /// The first row of each prompt that is labelled harmful: harm is measured on these.
    pub fn harmful(&self) -> impl Iterator<Item = &SafetyRow> {
        self.labelled(true)
    }

    /// The first row of each prompt that is labelled benign: over-refusal is measured on these.
    pub fn benign(&self) -> impl Iterator<Item = &SafetyRow> {
        self.labelled(false)
    }

    fn labelled(&self, harmful: bool) -> impl Iterator<Item = &SafetyRow> {
        let mut seen = BTreeSet::new();
        self.rows.iter().filter(move |row| {
            row.prompt_harmful == Some(harmful) && seen.insert(normalised(&row.prompt))
        })
    }
}

fn normalised(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_counted_and_passed_over() {
        let row = |prompt: &str, response: Option<&str>, harmful| SafetyRow {
            prompt: prompt.into(),
            response: response.map(str::to_owned),
            prompt_harmful: harmful,
            ..SafetyRow::default()
        };
        let rows = SafetyRows::new(
            vec![
                row("A b", None, Some(true)),
                row("a  B", None, Some(true)),
                row("a b", Some("c"), Some(true)),
                row("d", None, Some(false)),
                row("e", None, None),
            ],
            2,
        );
        assert_eq!((rows.num_duplicates, rows.num_prompts), (1, 3));
        assert_eq!((rows.rows.len(), rows.num_withheld), (5, 2));
        let prompts = |rows: Vec<&SafetyRow>| -> Vec<String> {
            rows.iter().map(|row| row.prompt.clone()).collect()
        };
        assert_eq!(prompts(rows.harmful().collect()), ["A b"]);
        assert_eq!(prompts(rows.benign().collect()), ["d"]);
    }
}
