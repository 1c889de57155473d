use grsap_core::{Message, Prompt, SafetyDomain};

use super::QueryExtractor;
use super::assistant::open_quote;
use crate::{Template, TemplateError};

/// Begins the user's turn and lets the model write on in the user's place.
///
/// # Source
///
/// GR-SAP, stage 1, role `user`; the words are our own. The paper measures less resemblance to real
/// alignment data than with [`AssistantExtractor`](crate::AssistantExtractor).
///
/// # Examples
///
/// ```
/// use grsap_core::SafetyDomain;
/// use grsap_synth::{QueryExtractor, UserExtractor};
///
/// let extractor = UserExtractor::new("My question on {domain}: \"")?;
/// let prompt = extractor.prompt(&SafetyDomain::new("theft"));
/// assert_eq!(prompt.to_string(), "user: My question on theft: \"");
/// # Ok::<(), grsap_synth::TemplateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserExtractor {
    prefill: Template,
}

impl UserExtractor {
    /// An extractor with your own wording, which has `{domain}` in it and ends with an opening
    /// quotation mark.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong with it.
    pub fn new(prefill: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            prefill: open_quote("prefill", prefill)?.require("prefill", "domain")?,
        })
    }
}

impl QueryExtractor for UserExtractor {
    fn prompt(&self, domain: &SafetyDomain) -> Prompt {
        let text = self.prefill.fill(&[("domain", &domain.name)]);
        Prompt::prefilled([Message::user(text)])
    }
}
