use std::fmt;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, BodyReader, Timeout};

use super::abort::{Abort, Ended};
use super::answer::message;
use super::api_key::ApiKey;
use super::config::OpenAiConfig;
use super::error::OpenAiError;
use super::events::{Events, ReadFailure, read_all};
use super::gate::Gate;
use super::rate_limits::{asked_wait, exhausted_until};
use super::retry::RetryConfig;

/// The most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 64 << 10;

/// Speaks HTTP with a server.
pub(super) struct Client {
    agent: Agent,
    pub(super) url: String,
    key: Option<ApiKey>,
    retry: RetryConfig,
    limits: Limits,
    gate: Gate,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
struct Limits {
    read_timeout_ms: u64,
    request_timeout_ms: u64,
    max_answer_bytes: usize,
}

/// An answer that says success, before its body is read.
pub(super) enum Reply {
    /// Events, as they come.
    Events(Box<EventStream>),
    /// All at once.
    Whole(Vec<u8>),
}

/// The events of an answer.
pub(super) struct EventStream {
    events: Events<BodyReader<'static>>,
    limits: Limits,
}

impl EventStream {
    /// The data of the next event; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, OpenAiError> {
        self.events.next().map_err(|e| self.limits.failure(e))
    }
}

/// A request that failed, and how long the server asks to wait.
struct Failure {
    error: OpenAiError,
    wait: Option<Duration>,
}

impl From<OpenAiError> for Failure {
    fn from(error: OpenAiError) -> Self {
        Self { error, wait: None }
    }
}

impl Client {
    pub(super) fn new(config: &OpenAiConfig) -> Self {
        let connect = Some(Duration::from_millis(config.connect_timeout_ms));
        let patience = Some(Duration::from_millis(config.read_timeout_ms));
        let whole = Some(Duration::from_millis(config.request_timeout_ms));
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The key goes to the server that was named and to no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Libraries read no environment variables.
            .proxy(None)
            .timeout_resolve(connect)
            .timeout_connect(connect)
            .timeout_per_read(patience)
            .timeout_per_write(patience)
            .timeout_global(whole)
            .max_idle_connections(config.max_concurrency)
            .max_idle_connections_per_host(config.max_concurrency)
            .user_agent(concat!("grsap-model/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self {
            agent,
            url: config.url(),
            key: None,
            retry: config.retry.clone(),
            limits: Limits {
                read_timeout_ms: config.read_timeout_ms,
                request_timeout_ms: config.request_timeout_ms,
                max_answer_bytes: config.max_answer_bytes,
            },
            gate: Gate::default(),
        }
    }

    pub(super) fn with_key(mut self, key: Option<ApiKey>) -> Self {
        self.key = key;
        self
    }

    /// Sends a request, as often as it takes, and reads the answer with `read`.
    ///
    /// The pauses between are drawn from a stream that the request's bytes name, so they are the same
    /// every time and differ between requests.
    pub(super) fn ask<R>(
        &self,
        body: &[u8],
        abort: &Abort,
        read: impl Fn(Reply) -> Result<R, Ended>,
    ) -> Result<R, Ended> {
        let mut rng = grsap_core::rng(0, "openai.retry", &[body]);
        let mut num_failures = 0;
        loop {
            self.gate.pass(abort)?;
            let failure = match self.once(body) {
                Ok(reply) => match read(reply) {
                    Ok(result) => return Ok(result),
                    Err(Ended::Aborted) => return Err(Ended::Aborted),
                    Err(Ended::Failed(error)) => Failure::from(error),
                },
                Err(failure) => failure,
            };
            let error = failure.error.cleaned(self.key.as_ref());
            if !error.is_passing() {
                return Err(error.into());
            }
            let wait = failure.wait.unwrap_or_default();
            let limit = Duration::from_millis(self.retry.max_wait_ms);
            if num_failures >= self.retry.num_retries {
                return Err(Ended::Failed(OpenAiError::GaveUp {
                    attempts: num_failures + 1,
                    source: Box::new(error),
                }));
            }
            if wait > limit {
                return Err(Ended::Failed(OpenAiError::Wait {
                    asked_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    limit_ms: self.retry.max_wait_ms,
                }));
            }
            tracing::debug!(url = self.url, error = %error, "trying again");
            self.gate.close_for(wait);
            abort.pause(wait + self.retry.pause(num_failures, &mut rng))?;
            num_failures += 1;
        }
    }

    fn once(&self, body: &[u8]) -> Result<Reply, Failure> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "text/event-stream, application/json");
        if let Some(header) = self.key.as_ref().and_then(ApiKey::header) {
            request = request.header("authorization", header);
        }
        let response = request
            .send(body)
            .map_err(|error| self.limits.connection_failure(error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        // What was used up by this answer is waited for before the next request.
        if let Some(wait) = exhausted_until(response.headers()) {
            self.gate.close_for(wait.min(self.longest_wait()));
        }
        let is_stream = is_event_stream(response.headers());
        let reader = response.into_body().into_reader();
        if is_stream {
            return Ok(Reply::Events(Box::new(EventStream {
                events: Events::new(reader, self.limits.max_answer_bytes),
                limits: self.limits,
            })));
        }
        let bytes = read_all(reader, self.limits.max_answer_bytes);
        Ok(Reply::Whole(bytes.map_err(|e| self.limits.failure(e))?))
    }

    fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.retry.max_wait_ms)
    }

    fn refusal(&self, response: Response<Body>) -> Failure {
        let status = response.status().as_u16();
        let wait = asked_wait(response.headers(), SystemTime::now());
        // The status says enough where the body cannot be read.
        let body = read_all(response.into_body().into_reader(), MAX_REFUSAL).unwrap_or_default();
        Failure {
            error: OpenAiError::from_status(status, message(&body), self.key.is_some()),
            wait,
        }
    }
}

impl Limits {
    /// What a failure to read a body means.
    fn failure(self, failure: ReadFailure) -> OpenAiError {
        match failure {
            ReadFailure::TooLarge => OpenAiError::TooLarge {
                limit: self.max_answer_bytes,
            },
            ReadFailure::Io(error) => match ureq::Error::from(error) {
                ureq::Error::Timeout(timeout) => self.timeout(timeout),
                // Whatever breaks here, the answer had begun.
                _ => OpenAiError::Cut,
            },
        }
    }

    /// What a failure before the body means.
    fn connection_failure(self, error: ureq::Error) -> OpenAiError {
        match error {
            ureq::Error::Timeout(timeout)
                if !matches!(timeout, Timeout::Resolve | Timeout::Connect) =>
            {
                self.timeout(timeout)
            }
            error => OpenAiError::Connection {
                source: Box::new(error),
            },
        }
    }

    fn timeout(self, timeout: Timeout) -> OpenAiError {
        match timeout {
            Timeout::Global => OpenAiError::Slow {
                limit_ms: self.request_timeout_ms,
            },
            _ => OpenAiError::Silent {
                limit_ms: self.read_timeout_ms,
            },
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream")
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
