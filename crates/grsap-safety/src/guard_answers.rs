use grsap_core::{Safety, Verdict};
use serde::{Deserialize, Serialize};

/// The three answers of guards in the manner of WildGuard. `None` is an answer that is missing, cut
/// off, neither of the two allowed, or given twice with different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct GuardAnswers {
    /// Whether the person asks for something harmful.
    pub request_harmful: Option<bool>,
    /// Whether the response refuses.
    pub response_refusal: Option<bool>,
    /// Whether the response is harmful.
    pub response_harmful: Option<bool>,
}

impl GuardAnswers {
    /// The part that a [`Verdict`] holds, with the text it was read from.
    pub(crate) fn verdict(self, raw: &str) -> Verdict {
        Verdict {
            response: match self.response_harmful {
                Some(true) => Safety::Unsafe,
                Some(false) => Safety::Safe,
                None => Safety::Unparsed,
            },
            refusal: self.response_refusal,
            raw: raw.to_owned(),
        }
    }
}

/// The one value of all that were given; `None` for none, for one that could not be read, and for
/// two that disagree.
pub(crate) fn unanimous(values: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut values = values.into_iter();
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_agreement_counts() {
        assert_eq!(unanimous([]), None);
        assert_eq!(unanimous([Some(true)]), Some(true));
        assert_eq!(unanimous([Some(false), Some(false)]), Some(false));
        assert_eq!(unanimous([Some(false), Some(true)]), None);
        assert_eq!(unanimous([Some(false), None]), None);
        assert_eq!(unanimous([None, Some(false)]), None);
    }
}
