use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The prompts that a judge was fitted on, as digests: they are often not to be passed on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FittedPrompts(BTreeSet<String>);

impl FittedPrompts {
    pub(super) fn new<'a>(prompts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(prompts.into_iter().filter_map(key).collect())
    }

    pub(super) fn contains(&self, prompt: &str) -> bool {
        key(prompt).is_some_and(|key| self.0.contains(&key))
    }
}

/// The same for spellings that differ in case and white space; none for a blank prompt.
pub(super) fn key(prompt: &str) -> Option<String> {
    let words: Vec<String> = prompt.split_whitespace().map(str::to_lowercase).collect();
    // 64 bits are enough to tell a data set apart, and keep the file small.
    (!words.is_empty()).then(|| {
        grsap_core::digest_hex(words.join(" ").as_bytes())
            .chars()
            .take(16)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_hide_a_prompt() {
        let fitted = FittedPrompts::new(["Bake a cake?", "", " "]);
        assert!(fitted.contains("  bake  A\ncake? "));
        assert!(!fitted.contains("Bake a cake"));
        assert!(!fitted.contains(""));
        assert_eq!(fitted.0.len(), 1);
    }
}
