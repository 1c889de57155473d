use grsap_core::Exchange;

const PROMPT_SLOT: &str = "{prompt}";
const RESPONSE_SLOT: &str = "{response}";

/// A text with a place for each half of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuardTemplate(String);

impl GuardTemplate {
    /// Checks that each slot appears exactly once.
    pub(crate) fn new(template: impl Into<String>) -> Result<Self, TemplateError> {
        let template = template.into();
        for slot in [PROMPT_SLOT, RESPONSE_SLOT] {
            let count = template.matches(slot).count();
            if count != 1 {
                return Err(TemplateError { slot, count });
            }
        }
        Ok(Self(template))
    }

    /// For templates of this crate, whose slots a test counts.
    pub(crate) fn trusted(template: &str) -> Self {
        Self(template.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// In one pass: a request that contains "{response}" must not be filled in itself.
    pub(crate) fn fill(&self, exchange: &Exchange<'_>) -> String {
        let mut text = String::new();
        let mut rest = self.0.as_str();
        while let Some(open) = rest.find('{') {
            let (before, tail) = rest.split_at(open);
            text.push_str(before);
            rest = if let Some(after) = tail.strip_prefix(PROMPT_SLOT) {
                text.push_str(exchange.prompt);
                after
            } else if let Some(after) = tail.strip_prefix(RESPONSE_SLOT) {
                text.push_str(exchange.response);
                after
            } else {
                text.push('{');
                tail.strip_prefix('{').unwrap_or_default()
            };
        }
        text.push_str(rest);
        text
    }
}

/// A template lacks a slot for the exchange, or has it twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template must contain {slot} exactly once, found {count}")]
#[non_exhaustive]
pub struct TemplateError {
    /// The slot.
    pub slot: &'static str,
    /// How often it appears.
    pub count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_is_filled_in_once() {
        let template = GuardTemplate::new("{x} <{prompt}|{response}> {").unwrap();
        let exchange = Exchange {
            prompt: "say {response}",
            response: "{prompt}!",
        };
        assert_eq!(template.fill(&exchange), "{x} <say {response}|{prompt}!> {");
    }

    #[test]
    fn both_slots_are_needed_once() {
        assert_eq!(
            GuardTemplate::new("{prompt}").unwrap_err().to_string(),
            "the template must contain {response} exactly once, found 0"
        );
        let twice = GuardTemplate::new("{prompt}{prompt}{response}");
        assert_eq!(twice.unwrap_err().count, 2);
    }
}
