use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::OpenAiError;

/// An answer, or one event of a streamed answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Usage>,
    error: Option<Value>,
}

/// A part of a choice, or the whole.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) index: Option<usize>,
    pub(super) text: Option<String>,
    pub(super) finish_reason: Option<String>,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) prompt_logprobs: Option<Vec<Option<BTreeMap<String, TokenLogprob>>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Usage {
    pub(super) completion_tokens: Option<usize>,
}

/// llama.cpp's answers have other fields here.
#[derive(Debug, Deserialize)]
pub(super) struct Logprobs {
    pub(super) token_logprobs: Option<Vec<Option<f64>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenLogprob {
    pub(super) logprob: f64,
}

impl Answer {
    /// Reads an answer, which may be an error.
    pub(super) fn parse(json: &[u8]) -> Result<Self, OpenAiError> {
        let answer: Self = serde_json::from_slice(json).map_err(|e| match e.is_eof() {
            true => OpenAiError::Cut,
            false => OpenAiError::answer(e),
        })?;
        let Some(error) = &answer.error else {
            return Ok(answer);
        };
        // The status was sent before anything went wrong, so the code is in the body.
        let code = error.get("code").and_then(|code| match code {
            Value::String(code) => code.parse().ok(),
            code => code.as_u64(),
        });
        let status = code.and_then(|code| u16::try_from(code).ok());
        let status = status.filter(|status| (400..600).contains(status));
        Err(OpenAiError::from_status(
            status.unwrap_or(500),
            message(json),
            true,
        ))
    }

    pub(super) fn choices(self) -> Result<Vec<Choice>, OpenAiError> {
        self.choices
            .ok_or_else(|| OpenAiError::answer("it has no `choices`"))
    }
}

/// What the body of a refusal says: the message in its JSON, or all of it.
pub(super) fn message(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = json.get("error").unwrap_or(&json);
    let found = ["message", "detail"].iter().find_map(|key| error.get(key));
    match found.unwrap_or(error) {
        Value::String(text) => text.clone(),
        Value::Null => String::from_utf8_lossy(body).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_the_bodies_of_known_servers() {
        let cases = [
            (r#"{"error": {"message": "no", "code": 400}}"#, "no"),
            (r#"{"object": "error", "message": "no", "code": 400}"#, "no"),
            (r#"{"detail": "no"}"#, "no"),
            (r#"{"detail": [{"msg": "x"}]}"#, r#"[{"msg":"x"}]"#),
            (r#"{"error": "no", "error_type": "validation"}"#, "no"),
            ("<html>no</html>", "<html>no</html>"),
            ("", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body.as_bytes()), expected);
        }
    }

    #[test]
    fn errors_within_an_answer_have_the_status_that_they_name() {
        let parse = |json: &str| Answer::parse(json.as_bytes()).unwrap_err();
        let failed = parse(r#"{"error": {"message": "out of memory"}}"#);
        assert_eq!(
            failed.to_string(),
            "the server failed (status 500): out of memory"
        );
        for code in ["400", r#""400""#] {
            let refused = parse(&format!(
                r#"{{"error": {{"message": "no", "code": {code}}}}}"#
            ));
            assert!(
                matches!(refused, OpenAiError::Refused { status: 400, .. }),
                "{refused}"
            );
        }
        assert!(parse(r#"{"error": {"code": 7}}"#).is_passing());
        assert!(matches!(parse(r#"{"choices": [{"te"#), OpenAiError::Cut));
        for garbage in ["<html>", "[]x", "3", r#"{"choices": 3}"#, "\u{0}"] {
            assert!(
                matches!(parse(garbage), OpenAiError::Answer { .. }),
                "{garbage}"
            );
        }
        let empty = Answer::parse(b"{}").unwrap().choices().unwrap_err();
        assert_eq!(
            empty.to_string(),
            "the answer cannot be read: it has no `choices`"
        );
    }
}
