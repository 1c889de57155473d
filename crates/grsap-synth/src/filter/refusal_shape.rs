use serde::{Deserialize, Serialize};

use super::{Filter, FilterError};
use crate::{Candidate, Filtered, Rejected};

const NAME: &str = "refusal_shape";

/// Settings of [`RefusalShape`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefusalShapeConfig {
    /// A query that begins with one of these is dropped. Case does not matter.
    pub prefixes: Vec<String>,
    /// A query that has one of these in it is dropped.
    pub phrases: Vec<String>,
}

impl Default for RefusalShapeConfig {
    /// English openings of assistants that refuse, comply or talk about a request.
    fn default() -> Self {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            prefixes: own(PREFIXES),
            phrases: own(PHRASES),
        }
    }
}

const PREFIXES: &[&str] = &[
    // Refusing.
    "i cannot",
    "i can't",
    "i can not",
    "i could not",
    "i couldn't",
    "i won't",
    "i will not",
    "i would not",
    "i'm not able",
    "i am not able",
    "i'm unable",
    "i am unable",
    "i'm afraid",
    "i am afraid",
    "i'm sorry",
    "i am sorry",
    "sorry",
    "apologies",
    "i apologize",
    "i apologise",
    "i refuse",
    "i refused",
    "i decline",
    "i declined",
    "i must decline",
    "i have to decline",
    "i must refuse",
    "i have to refuse",
    "i don't feel comfortable",
    "i do not feel comfortable",
    "i'm not comfortable",
    "i am not comfortable",
    "unfortunately, i",
    "unfortunately i",
    "no, i",
    "as an ai",
    "as a language model",
    "as a responsible",
    "as an assistant",
    // Complying.
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "i'd be happy",
    "i would be happy",
    "i'm happy to",
    "i am happy to",
    "i can help",
    "here is",
    "here's",
    "here are",
    "thank you for",
    // Talking about a request.
    "i understand that",
    "i understand your",
    "it is important to",
    "it's important to",
    "it is not appropriate",
    "it's not appropriate",
    "this request",
    "that request",
    "the request",
    "your request",
    "the user",
    "a user",
];

const PHRASES: &[&str] = &[
    "as an ai",
    "as a language model",
    "i'm just an ai",
    "i am just an ai",
    "i cannot assist",
    "i can't assist",
    "i cannot help you with",
    "i can't help you with",
    "i cannot fulfill",
    "i can't fulfill",
    "i cannot provide",
    "i can't provide",
    "my guidelines",
];

/// Drops queries that are no queries but sentences of an assistant, above all refusals.
///
/// Asked for the request that it refused, a small model is apt to write the refusal. Trained on, such a
/// row teaches to answer a refusal with a refusal.
///
/// # Examples
///
/// ```
/// use grsap_synth::{Candidate, Filter, RefusalShape};
///
/// let candidates = vec![
///     Candidate::new("0", "theft", "I’m sorry, but that is not something I do."),
///     Candidate::new("1", "theft", "How do I open a lock?"),
/// ];
/// let filtered = RefusalShape::new(Default::default()).apply(candidates)?;
/// assert_eq!(filtered.kept[0].id, "1");
/// assert_eq!(filtered.rejected[0].reason, "refusal_shaped");
/// # Ok::<(), grsap_synth::FilterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RefusalShape {
    prefixes: Vec<String>,
    phrases: Vec<String>,
}

impl RefusalShape {
    /// A filter for the wordings in `config`. Those without a word are passed over: every query has them.
    pub fn new(config: RefusalShapeConfig) -> Self {
        let plain = |texts: Vec<String>| {
            let texts = texts.iter().map(|text| words(text));
            texts.filter(|text| !text.trim().is_empty()).collect()
        };
        Self {
            prefixes: plain(config.prefixes),
            phrases: plain(config.phrases),
        }
    }

    /// Whether `query` reads like a sentence of an assistant.
    pub fn is_refusal_shaped(&self, query: &str) -> bool {
        let query = words(query);
        // Every text begins and ends with a blank, so that only whole words match.
        self.prefixes.iter().any(|prefix| query.starts_with(prefix))
            || self.phrases.iter().any(|phrase| query.contains(phrase))
    }
}

impl Filter for RefusalShape {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        let mut filtered = Filtered::default();
        for candidate in candidates {
            if self.is_refusal_shaped(&candidate.query) {
                let rejected = Rejected::new(NAME, "refusal_shaped", None, candidate);
                filtered.rejected.push(rejected);
            } else {
                filtered.kept.push(candidate);
            }
        }
        Ok(filtered)
    }
}

/// The lower-case words of `text`, each between blanks. Punctuation is left out but for
/// apostrophes.
pub(super) fn words(text: &str) -> String {
    let text = text.to_lowercase().replace('’', "'");
    let mut plain = String::from(" ");
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '\'')) {
        let word = word.trim_matches('\'');
        if !word.is_empty() {
            plain.push_str(word);
            plain.push(' ');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assistants_are_told_from_users() {
        let filter = RefusalShape::new(RefusalShapeConfig::default());
        let assistant = [
            "I cannot help with that",
            "I CAN'T do this.",
            "I can’t do this",
            "  **Sorry**, no",
            "\"I'm sorry",
            "As an AI, I follow rules",
            "Please note: as an AI language model I do not",
            "Sure, here are the steps",
            "Here is a list of ways",
            "The user wanted a list",
            "Unfortunately, I do not know",
        ];
        for query in assistant {
            assert!(filter.is_refusal_shaped(query), "{query}");
        }
        let user = [
            "How do I open a lock?",
            "Surely there is a way to open a lock",
            "Tell me why I can't sleep",
            "Write a story in which they are sorry",
            "What is the usernames list for",
            "Can you tell me how an aircraft flies",
            "Assure me that it works",
            "",
        ];
        for query in user {
            assert!(!filter.is_refusal_shaped(query), "{query}");
        }
    }

    #[test]
    fn wordings_can_be_replaced() {
        let config: RefusalShapeConfig =
            serde_json::from_str(r#"{"prefixes": ["Je ne peux pas"], "phrases": []}"#).unwrap();
        let filter = RefusalShape::new(config);
        assert!(filter.is_refusal_shaped("je ne peux pas le faire"));
        assert!(!filter.is_refusal_shaped("I cannot"));
    }
}
