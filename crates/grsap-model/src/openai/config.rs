use serde::{Deserialize, Serialize};
use ureq::http::Uri;

use super::error::OpenAiError;
use super::retry::RetryConfig;

/// How prompts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptForm {
    /// As token ids, so that the server neither adds a token nor cuts a text in another way. vLLM
    /// (Ray Serve too), SGLang and llama.cpp take them.
    #[default]
    TokenIds,
    /// As text, for servers that take nothing else, such as TGI. A beginning-of-sequence token that
    /// the template writes is left out where the tokenizer adds one to plain texts, because the
    /// server will.
    Text,
}

/// Which fields a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Also fields of vLLM, SGLang and llama.cpp, each of which ignores those of the others:
    /// `top_k`, the tokens that end a turn, and what switches off defaults of the server that
    /// [`SamplingParams`](grsap_core::SamplingParams) do not have (`min_p`, `repetition_penalty`).
    #[default]
    Extended,
    /// The fields that OpenAI documents, for servers that refuse others. `top_k` is an error.
    Standard,
}

/// How the log-probabilities of a prompt are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptLogprobs {
    /// `echo` with `logprobs`: OpenAI's own way; vLLM and SGLang have it.
    #[default]
    Echo,
    /// vLLM's field `prompt_logprobs`.
    PromptLogprobs,
}

/// Where a server is and how it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAiConfig {
    /// The address below which `/completions` is: `http://127.0.0.1:8000/v1`.
    pub base_url: String,
    /// The server's name for the model.
    pub model: String,
    /// How prompts are sent.
    pub prompt_form: PromptForm,
    /// Which fields a request has.
    pub dialect: Dialect,
    /// How the log-probabilities of a prompt are asked for.
    pub prompt_logprobs: PromptLogprobs,
    /// The most completions of one prompt that one request asks for. With 1 each has a seed of its
    /// own, and sample `i` does not depend on how many are asked for; the server's prefix cache
    /// keeps that cheap. More means fewer requests, where those are what is limited.
    pub choices_per_request: usize,
    /// The most requests at a time, each in a thread.
    pub max_concurrency: usize,
    /// How long connecting may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long the server may be silent before or within an answer, in milliseconds. Answers are
    /// streamed, so this is the time to the first token (a queue in the server counts) and between
    /// two.
    pub read_timeout_ms: u64,
    /// How long a request may take in all, in milliseconds.
    pub request_timeout_ms: u64,
    /// The longest answer that is read, in bytes. A streamed token takes some hundred.
    pub max_answer_bytes: usize,
    /// What happens when a request fails.
    pub retry: RetryConfig,
}

impl Default for OpenAiConfig {
    /// vLLM's address, 32 requests at a time; the model has no default.
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:8000/v1".into(),
            model: String::new(),
            prompt_form: PromptForm::default(),
            dialect: Dialect::default(),
            prompt_logprobs: PromptLogprobs::default(),
            choices_per_request: 1,
            max_concurrency: 32,
            connect_timeout_ms: 10_000,
            read_timeout_ms: 300_000,
            request_timeout_ms: 3_600_000,
            max_answer_bytes: 16 << 20,
            retry: RetryConfig::default(),
        }
    }
}

impl OpenAiConfig {
    /// Names the first setting that cannot be used.
    pub(super) fn check(&self) -> Result<(), OpenAiError> {
        let error = |field, expected, got: String| OpenAiError::Config {
            field,
            expected,
            got,
        };
        let address = "an address such as http://host:8000/v1";
        if self.base_url.contains('@') {
            let got = "one with a user name; a key is given apart".into();
            return Err(error("base_url", address, got));
        }
        let uri = self.base_url.parse::<Uri>().ok();
        let is_good = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
        });
        if !is_good {
            return Err(error("base_url", address, format!("`{}`", self.base_url)));
        }
        if self.model.is_empty() {
            let expected = "the server's name for the model";
            return Err(error("model", expected, "an empty one".into()));
        }
        let counts = [
            ("choices_per_request", self.choices_per_request as u64),
            ("max_concurrency", self.max_concurrency as u64),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("read_timeout_ms", self.read_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("max_answer_bytes", self.max_answer_bytes as u64),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(error(field, "at least 1", "0".into())),
            None => Ok(()),
        }
    }

    /// Where completions are asked for.
    pub(super) fn url(&self) -> String {
        format!("{}/completions", self.base_url.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> OpenAiConfig {
        OpenAiConfig {
            model: "m".into(),
            ..Default::default()
        }
    }

    #[test]
    fn settings_are_checked() {
        good().check().unwrap();
        assert_eq!(good().url(), "http://127.0.0.1:8000/v1/completions");
        let at = |url: &str| OpenAiConfig {
            base_url: url.into(),
            ..good()
        };
        assert_eq!(at("https://h/v1/").url(), "https://h/v1/completions");
        for url in [
            "",
            "h:80/v1",
            "/v1",
            "ftp://h/",
            "http://",
            "http://h/?a=b",
            "http://h h",
        ] {
            let error = at(url).check().unwrap_err().to_string();
            assert!(
                error.starts_with("base_url must be") && error.contains(url),
                "{error}"
            );
        }
        let error = at("http://me:sk-1@h/v1").check().unwrap_err().to_string();
        assert!(!error.contains("sk-1"), "{error}");
        assert!(OpenAiConfig::default().check().is_err());
        let none = OpenAiConfig {
            max_concurrency: 0,
            ..good()
        };
        let error = none.check().unwrap_err().to_string();
        assert_eq!(error, "max_concurrency must be at least 1, got 0");
    }

    #[test]
    fn settings_are_plain_data() {
        let json = serde_json::to_string(&good()).unwrap();
        assert_eq!(serde_json::from_str::<OpenAiConfig>(&json).unwrap(), good());
        assert!(serde_json::from_str::<OpenAiConfig>(r#"{"api_key": "sk"}"#).is_err());
    }
}
