use std::error::Error;

use super::api_key::ApiKey;

/// The most characters of a server's message that an error repeats.
const MAX_MESSAGE: usize = 300;

/// A server did not do what it was asked, or cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenAiError {
    /// A setting cannot be used.
    #[error("{field} must be {expected}, got {got}")]
    Config {
        /// The field of [`OpenAiConfig`](super::OpenAiConfig).
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was.
        got: String,
    },
    /// The server wants another key, or one at all.
    #[error("access denied (status {status}{}): {message}", if *has_key { "" } else { ", no key was sent" })]
    Denied {
        /// The server's answer.
        status: u16,
        /// Its own words.
        message: String,
        /// Whether a key was sent.
        has_key: bool,
    },
    /// The server does not take the request: a prompt that is too long, a model that it does not
    /// have, a field that it does not know.
    #[error("the request was refused (status {status}): {message}")]
    Refused {
        /// The server's answer.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// The server is busy, or failed.
    #[error("the server failed (status {status}): {message}")]
    Failed {
        /// The server's answer.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// The server asks for more patience than there is.
    #[error("the server asks to wait {asked_ms} ms, the limit is {limit_ms} ms")]
    Wait {
        /// What it asks for.
        asked_ms: u64,
        /// [`max_wait_ms`](super::RetryConfig::max_wait_ms).
        limit_ms: u64,
    },
    /// There is no connection, or it broke before the answer began.
    #[error("the connection failed")]
    Connection {
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nothing came for too long.
    #[error("the server was silent for {limit_ms} ms")]
    Silent {
        /// [`read_timeout_ms`](super::OpenAiConfig::read_timeout_ms).
        limit_ms: u64,
    },
    /// The answer was not whole in time.
    #[error("the answer was not whole after {limit_ms} ms")]
    Slow {
        /// [`request_timeout_ms`](super::OpenAiConfig::request_timeout_ms).
        limit_ms: u64,
    },
    /// The answer ended in the middle.
    #[error("the answer broke off")]
    Cut,
    /// The answer is longer than any that is read.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// [`max_answer_bytes`](super::OpenAiConfig::max_answer_bytes).
        limit: usize,
    },
    /// The answer is not what the protocol says.
    #[error("the answer cannot be read: {reason}")]
    Answer {
        /// What is wrong.
        reason: String,
    },
    /// The answer has another number of choices than was asked for.
    #[error("{expected} choices were asked for, {got} came")]
    Choices {
        /// How many were asked for.
        expected: usize,
        /// How many came; at least so many where the answer was not read on.
        got: usize,
    },
    /// A choice ended for a reason that makes its text unusable.
    #[error("a choice ended for the reason `{reason}`")]
    FinishReason {
        /// The server's word.
        reason: String,
    },
    /// The server does not say how probable the tokens of a prompt are.
    #[error(
        "the answer has no log-probabilities of the prompt; the server may not give them, or give \
         them in the other form (`prompt_logprobs` in the settings)"
    )]
    NoPromptLogprobs,
    /// It was tried as often as allowed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How often it was tried.
        attempts: usize,
        /// The last failure.
        #[source]
        source: Box<OpenAiError>,
    },
}

impl OpenAiError {
    /// Whether another try may help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. }
                | Self::Connection { .. }
                | Self::Silent { .. }
                | Self::Slow { .. }
                | Self::Cut
        )
    }

    pub(super) fn answer(reason: impl ToString) -> Self {
        Self::Answer {
            reason: reason.to_string(),
        }
    }

    /// What a status that is no success means.
    pub(super) fn from_status(status: u16, message: String, has_key: bool) -> Self {
        match status {
            401 | 403 => Self::Denied {
                status,
                message,
                has_key,
            },
            408 | 425 | 429 | 500.. => Self::Failed { status, message },
            _ => Self::Refused { status, message },
        }
    }

    /// The same without the key and without an endless message.
    pub(super) fn cleaned(mut self, key: Option<&ApiKey>) -> Self {
        if let Self::Denied { message: text, .. }
        | Self::Refused { message: text, .. }
        | Self::Failed { message: text, .. }
        | Self::Answer { reason: text }
        | Self::FinishReason { reason: text } = &mut self
        {
            *text = clean(text, key);
        }
        self
    }
}

fn clean(text: &str, key: Option<&ApiKey>) -> String {
    // Before it is cut: half a key is a secret, too.
    let text = match key {
        Some(key) => key.hidden_in(text),
        None => text.to_owned(),
    };
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text
        .trim()
        .chars()
        .take(MAX_MESSAGE)
        .map(printable)
        .collect();
    if text.trim().chars().nth(MAX_MESSAGE).is_some() {
        short.push_str("...");
    }
    if short.is_empty() {
        short.push_str("no message");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_and_without_the_key() {
        let key = ApiKey::new("sk-secret");
        let text = format!("{}sk-secret\n{}", "a".repeat(295), "b".repeat(1000));
        let error = OpenAiError::from_status(400, text, true).cleaned(key.as_ref());
        let text = error.to_string();
        assert!(text.ends_with("a[key]..."), "{text}");
        assert!(!text.contains("sk-"), "{text}");
        let silent = OpenAiError::from_status(503, " ".into(), true).cleaned(None);
        assert_eq!(
            silent.to_string(),
            "the server failed (status 503): no message"
        );
        assert!(silent.is_passing() && !error.is_passing());
    }

    #[test]
    fn statuses_have_their_meaning() {
        let error = |status| OpenAiError::from_status(status, "x".into(), false);
        for status in [408, 425, 429, 500, 503, 599] {
            assert!(error(status).is_passing(), "{status}");
        }
        for status in [300, 307, 400, 404, 413, 422] {
            assert!(
                matches!(error(status), OpenAiError::Refused { .. }),
                "{status}"
            );
        }
        let denied = error(401).to_string();
        assert_eq!(denied, "access denied (status 401, no key was sent): x");
    }
}
