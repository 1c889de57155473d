use std::io;
use std::path::{Path, PathBuf};

/// A model could not be had from the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is not `name` or `organisation/name`, or the revision cannot be one.
    #[error("`{value}` is not {expected}")]
    Name {
        /// What was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The hub does not know the repository or the revision, or does not show it to everyone.
    #[error("{repo}, revision `{revision}`: not found at {endpoint}{}", hint(*has_token))]
    NotFound {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The repository is gated or private.
    #[error("{repo}: access denied (status {status}); ask for access on the repository's page{}", hint(*has_token))]
    Denied {
        /// The repository.
        repo: String,
        /// The hub's answer.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub gave another answer than a file.
    #[error("{url}: status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The hub's answer.
        status: u16,
    },
    /// The answer is not what the hub's interface promises.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection, or one that broke more often than it was to be tried again. What has come so
    /// far is kept, and the next try goes on from there.
    #[error("{url}: the connection failed {attempts} times")]
    Connection {
        /// What was asked for.
        url: String,
        /// How often it was tried without any progress.
        attempts: usize,
        /// The last failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What came is not what the hub said it would be. It was thrown away.
    #[error("{file}: expected {expected}, got {got}")]
    Damaged {
        /// The file.
        file: String,
        /// The length or hash that the hub promised.
        expected: String,
        /// The one of what came.
        got: String,
    },
    /// The repository has no file of this kind.
    #[error("{repo} has no {what}; it has: {}", there.join(", "))]
    MissingFile {
        /// The repository.
        repo: String,
        /// What is needed.
        what: String,
        /// Names that are there, at most some.
        there: Vec<String>,
    },
    /// Without the network, and a file is not in the cache.
    #[error("{repo}, revision `{revision}`: {file} is not in the cache {} and the network is switched off", cache.display())]
    NotCached {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// The first file that is missing.
        file: String,
        /// The cache.
        cache: PathBuf,
    },
    /// No folder for the cache: neither given, nor in the environment, nor a home.
    #[error("no cache folder: set HF_HOME or give one")]
    NoCache,
    /// The file system said no.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl HubError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn answer(url: &str, reason: impl std::fmt::Display) -> Self {
        Self::Answer {
            url: url.to_owned(),
            reason: reason.to_string(),
        }
    }
}

fn hint(has_token: bool) -> &'static str {
    if has_token {
        ", or use another token"
    } else {
        "; if it is private or gated, set a token (HF_TOKEN)"
    }
}
