use grsap_core::{Prompt, SafetyDomain};

use crate::parse_quote;

/// A way to make a model write down a request that it would refuse.
///
/// It is text in and text out: the model is asked by [`Extraction`](crate::Extraction).
pub trait QueryExtractor {
    /// What the model is to continue, left open after an opening quotation mark.
    fn prompt(&self, domain: &SafetyDomain) -> Prompt;

    /// Texts at which to stop sampling: nothing after the query is used. With others than these
    /// [`parse`](Self::parse) is to be replaced too.
    fn stop(&self) -> Vec<String> {
        default_stops()
    }

    /// The query in a completion that still has its closing quote; `None` when it never ends.
    fn parse(&self, completion: &str) -> Option<String> {
        parse_quote(completion)
    }
}

/// The closing quotes that [`parse_quote`] knows.
pub(crate) fn default_stops() -> Vec<String> {
    vec!["\"".to_owned(), "”".to_owned()]
}
