use std::error::Error as _;

use crate::jinja::Raised;

/// A chat could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template is no template.
    #[error("the chat template does not parse: {reason}")]
    Syntax {
        /// What is wrong.
        reason: String,
    },
    /// The template called `raise_exception`: it does not allow these messages.
    #[error("the chat template refused the messages: {message}")]
    Raised {
        /// The template's own words.
        message: String,
    },
    /// The template failed on these messages.
    #[error("the chat template failed: {reason}")]
    Render {
        /// What is wrong.
        reason: String,
    },
    /// There is no message to render.
    #[error("the chat has no messages")]
    NoMessages,
    /// The last message was to stay open, but the template leaves its content out or changes it.
    #[error(
        "the chat template leaves out the content of the last message, or changes it, so it cannot stay open"
    )]
    LastContentMissing,
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        if let Some(raised) = error.source().and_then(|e| e.downcast_ref::<Raised>()) {
            return Self::Raised {
                message: raised.0.clone(),
            };
        }
        let reason = error.to_string();
        match error.kind() {
            minijinja::ErrorKind::SyntaxError => Self::Syntax { reason },
            _ => Self::Render { reason },
        }
    }
}
