use std::io::Read as _;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::error::HubError;
use super::token::HubToken;

/// The longest description of a repository or small answer that is read.
const MAX_ANSWER: u64 = 64 << 20;

/// Speaks HTTP with a hub.
pub(super) struct Client {
    agent: Agent,
    token: Option<HubToken>,
    pub(super) endpoint: String,
}

/// Which repository an answer is about, for errors.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) repo: &'a str,
    pub(super) revision: &'a str,
}

impl Client {
    /// `patience` is how long the hub may be silent.
    pub(super) fn new(endpoint: &str, token: Option<HubToken>, patience: Duration) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Large files come from other hosts, which are not told the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience))
            .user_agent(concat!("grsap-model/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self {
            agent,
            token,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
        }
    }

    /// Asks for `url` from byte `start` on.
    pub(super) fn get(&self, url: &str, start: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", token.header());
        }
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call()
    }

    /// An answer that is no success becomes the error that it means.
    pub(super) fn check(
        &self,
        url: &str,
        place: Place<'_>,
        response: &Response<Body>,
    ) -> Result<(), HubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let has_token = self.token.is_some();
        // To those without a token the hub says "unauthorised" where it knows no repository.
        let is_unknown = matches!(code, "RepoNotFound" | "RevisionNotFound")
            || (code.is_empty() && status == StatusCode::NOT_FOUND);
        Err(match status {
            _ if is_unknown => HubError::NotFound {
                repo: place.repo.to_owned(),
                revision: place.revision.to_owned(),
                endpoint: self.endpoint.clone(),
                has_token,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HubError::Denied {
                repo: place.repo.to_owned(),
                status: status.as_u16(),
                has_token,
            },
            _ => HubError::Status {
                url: url.to_owned(),
                status: status.as_u16(),
            },
        })
    }

    /// A small answer.
    pub(super) fn read(&self, url: &str, place: Place<'_>) -> Result<Vec<u8>, ReadError> {
        let response = self
            .get(url, 0)
            .map_err(|e| ReadError::Broken(Box::new(e)))?;
        if is_passing(response.status()) {
            let reason = format!("status {}", response.status());
            return Err(ReadError::Broken(reason.into()));
        }
        self.check(url, place, &response)
            .map_err(ReadError::Refused)?;
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(MAX_ANSWER);
        body.read_to_end(&mut bytes)
            .map_err(|e| ReadError::Broken(Box::new(e)))?;
        Ok(bytes)
    }
}

/// Why there is no answer.
pub(super) enum ReadError {
    /// Another try may help.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The hub has said what is wrong.
    Refused(HubError),
}

/// Whether the hub is only busy.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}
