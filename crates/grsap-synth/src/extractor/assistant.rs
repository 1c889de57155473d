use grsap_core::{Message, Prompt, SafetyDomain};

use super::QueryExtractor;
use crate::{Template, TemplateError};

/// Asks the model to quote a request that it turned down, and begins its answer for it.
///
/// The wording of the prefill decides what is extracted: after words like "the request I refused
/// was" small models write a refusal, after "the user asked" they write a request.
///
/// # Examples
///
/// ```
/// use grsap_core::SafetyDomain;
/// use grsap_synth::{AssistantExtractor, QueryExtractor};
///
/// let extractor = AssistantExtractor::new("Quote the {domain} request.", "They asked: \"")?;
/// let prompt = extractor.prompt(&SafetyDomain::new("theft"));
/// assert_eq!(prompt.to_string(), "user: Quote the theft request.\nassistant: They asked: \"");
/// # Ok::<(), grsap_synth::TemplateError>(())
/// ```
///
/// # Source
///
/// GR-SAP, stage 1, role `assistant`; the words are our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssistantExtractor {
    user: Template,
    prefill: Template,
}

impl AssistantExtractor {
    /// An extractor with your own wording. `{domain}` must occur in `user` and may occur in
    /// `prefill`, which ends with an opening quotation mark.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] names the template and what is wrong with it.
    pub fn new(user: &str, prefill: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            user: Template::new("user", user, &["domain"])?.require("user", "domain")?,
            prefill: open_quote("prefill", prefill)?,
        })
    }
}

impl QueryExtractor for AssistantExtractor {
    fn prompt(&self, domain: &SafetyDomain) -> Prompt {
        let values = [("domain", domain.name.as_str())];
        Prompt::prefilled([
            Message::user(self.user.fill(&values)),
            Message::assistant(self.prefill.fill(&values)),
        ])
    }
}

pub(super) fn open_quote(field: &'static str, text: &str) -> Result<Template, TemplateError> {
    if !text.ends_with(['"', '“']) {
        return Err(TemplateError::NoOpenQuote {
            field,
            got: text.to_owned(),
        });
    }
    Template::new(field, text, &["domain"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_checked() {
        let error = AssistantExtractor::new("no place", "x \"").unwrap_err();
        assert_eq!(error.to_string(), "user: placeholder {domain} is missing");
        let error = AssistantExtractor::new("{domain}", "x: ").unwrap_err();
        assert_eq!(
            error.to_string(),
            "prefill: must end with an opening quotation mark, got \"x: \""
        );
        assert!(AssistantExtractor::new("{domain}", "{query} \"").is_err());
        assert!(AssistantExtractor::new("{domain}", "on {domain}: “").is_ok());
    }
}
