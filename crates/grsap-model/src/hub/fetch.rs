use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::StatusCode;

use super::cache::RepoCache;
use super::client::{Client, Place, ReadError, is_passing};
use super::error::HubError;
use super::listing::{INDEX, Listing, RemoteFile, first_missing, is_hash};
use super::token::HubToken;

const ENDPOINT: &str = "https://huggingface.co";

/// The Hugging Face Hub, or one that speaks like it, and a cache in the layout of its own tools.
///
/// # Examples
///
/// ```no_run
/// use grsap_model::{ChatModel, Hub};
///
/// let folder = Hub::from_env()?.with_offline(true).fetch("HuggingFaceTB/SmolLM2-135M-Instruct", "main")?;
/// let model = ChatModel::load(folder, &burn::tensor::Device::flex())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hub {
    cache: PathBuf,
    endpoint: String,
    token: Option<HubToken>,
    is_offline: bool,
    num_retries: usize,
    patience: Duration,
}

impl Hub {
    /// A hub at its usual address with a cache in this folder, without a token.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: ENDPOINT.to_owned(),
            token: None,
            is_offline: false,
            num_retries: 5,
            patience: Duration::from_secs(30),
        }
    }

    /// As the hub's own tools are set up: `HF_HUB_CACHE` or `HF_HOME` for the cache, `HF_ENDPOINT`,
    /// `HF_TOKEN` or the file in `HF_TOKEN_PATH` that `hf auth login` writes, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    ///
    /// [`HubError::NoCache`].
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| {
            let value = std::env::var_os(name)?;
            (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
        })
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let path = |text: String| match (text.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        };
        let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(home), _) => Some(path(home)),
            (None, Some(caches)) => Some(path(caches).join("huggingface")),
            (None, None) => {
                std::env::home_dir().map(|home| home.join(".cache").join("huggingface"))
            }
        };
        let cache = match (variable("HF_HUB_CACHE"), &home) {
            (Some(cache), _) => path(cache),
            (None, Some(home)) => home.join("hub"),
            (None, None) => return Err(HubError::NoCache),
        };
        let token = variable("HF_TOKEN").or_else(|| {
            let path = match variable("HF_TOKEN_PATH") {
                Some(token) => path(token),
                None => home.as_ref()?.join("token"),
            };
            std::fs::read_to_string(path).ok()
        });
        let mut hub = Self::new(cache);
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            hub.endpoint = endpoint;
        }
        hub.token = token.and_then(|token| HubToken::new(&token));
        hub.is_offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(
                value.to_ascii_uppercase().as_str(),
                "1" | "ON" | "YES" | "TRUE"
            )
        });
        Ok(hub)
    }

    /// Another hub, `https://...`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// A token, for repositories that not everyone may read.
    #[must_use]
    pub fn with_token(mut self, token: Option<HubToken>) -> Self {
        self.token = token;
        self
    }

    /// Whether the network is left alone and only the cache is used.
    #[must_use]
    pub fn with_offline(mut self, is_offline: bool) -> Self {
        self.is_offline = is_offline;
        self
    }

    /// How often a failed request is made again. Only tries in a row that bring nothing count.
    #[must_use]
    pub fn with_retries(mut self, num_retries: usize) -> Self {
        self.num_retries = num_retries;
        self
    }

    /// How long the other side may be silent before a try has failed.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Brings the files of a model into the cache, those that are not there yet, and gives the folder
    /// that has them: configurations, tokenizer, template, and weights in safetensors files. Other
    /// weights (pickled ones above all) are never fetched.
    ///
    /// `revision` is a branch, a tag or a commit. A whole commit that is in the cache costs no
    /// request. Where the hub cannot be reached, what the branch was at the last time is taken if it
    /// is there.
    ///
    /// A file gets its name in the cache only when it is whole: its length, and of large files the
    /// SHA-256, are what the hub said. What a broken connection leaves is gone on with.
    ///
    /// # Errors
    ///
    /// [`HubError`]: no such repository, no access, no connection, damaged files, no safetensors.
    pub fn fetch(&self, repo: &str, revision: &str) -> Result<PathBuf, HubError> {
        check_repo(repo)?;
        check_revision(revision)?;
        let cache = RepoCache::new(&self.cache, repo);
        let cached = if is_hash(revision) {
            Some(revision.to_owned())
        } else {
            cache.commit(revision)
        };
        let in_cache = || -> Result<PathBuf, HubError> {
            let missing = |file: String| HubError::NotCached {
                repo: repo.to_owned(),
                revision: revision.to_owned(),
                file,
                cache: self.cache.clone(),
            };
            let commit = cached
                .as_ref()
                .ok_or_else(|| missing("config.json".into()))?;
            let snapshot = cache.snapshot(commit);
            first_missing(&snapshot).map_or(Ok(snapshot), |file| Err(missing(file)))
        };
        if self.is_offline {
            return in_cache();
        }
        // Without this file the snapshot may be another tool's, which brought less; to ask costs little.
        if is_hash(revision)
            && let Ok(snapshot) = in_cache()
            && snapshot.join("tokenizer_config.json").is_file()
        {
            return Ok(snapshot);
        }
        let client = Client::new(&self.endpoint, self.token.clone(), self.patience);
        let place = Place { repo, revision };
        let listing = match self.listing(&client, place) {
            Err(HubError::Connection {
                url,
                attempts,
                source,
            }) => match in_cache() {
                Ok(snapshot) => {
                    tracing::warn!(repo, revision, "the hub cannot be reached, using the cache");
                    return Ok(snapshot);
                }
                Err(_) => {
                    return Err(HubError::Connection {
                        url,
                        attempts,
                        source,
                    });
                }
            },
            listing => listing?,
        };
        let snapshot = cache.snapshot(&listing.commit);
        if listing.file("config.json").is_none() {
            return Err(listing.missing(repo, "config.json"));
        }
        // The weights come last: where they are whole, all else is.
        for file in listing.small_files() {
            self.bring(&client, &cache, place, &listing.commit, file)?;
        }
        let index = std::fs::read(snapshot.join(INDEX)).ok();
        let index = index
            .as_deref()
            .filter(|_| listing.small_files().any(|file| file.name == INDEX));
        for file in listing.weights(repo, index)? {
            self.bring(&client, &cache, place, &listing.commit, file)?;
        }
        if !is_hash(revision) {
            cache.set_commit(revision, &listing.commit)?;
        }
        Ok(snapshot)
    }

    fn listing(&self, client: &Client, place: Place<'_>) -> Result<Listing, HubError> {
        // A branch may have slashes in its name, which the address may not.
        let revision = place.revision.replace('/', "%2F");
        let url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            client.endpoint, place.repo
        );
        let mut failures = Failures::new(&url, self.num_retries);
        loop {
            match client.read(&url, place) {
                Ok(json) => return Listing::parse(&url, &json),
                Err(ReadError::Refused(error)) => return Err(error),
                Err(ReadError::Broken(source)) => failures.add(source)?,
            }
        }
    }

    /// Brings one file of a commit into the cache.
    fn bring(
        &self,
        client: &Client,
        cache: &RepoCache,
        place: Place<'_>,
        commit: &str,
        file: &RemoteFile,
    ) -> Result<(), HubError> {
        let url = format!(
            "{}/{}/resolve/{commit}/{}",
            client.endpoint, place.repo, file.name
        );
        let Some(blob) = file.blob_name() else {
            return Err(HubError::answer(&url, "the hub gives no hash for it"));
        };
        if cache.blob(blob).is_none() {
            tracing::info!(
                repo = place.repo,
                file = file.name,
                bytes = file.size,
                "fetching"
            );
            self.transfer(client, cache, place, file, blob, &url)?;
        }
        cache.link(commit, file, blob)
    }

    fn transfer(
        &self,
        client: &Client,
        cache: &RepoCache,
        place: Place<'_>,
        file: &RemoteFile,
        blob: &str,
        url: &str,
    ) -> Result<(), HubError> {
        let mut partial = cache.partial(blob)?;
        let mut failures = Failures::new(url, self.num_retries);
        // One byte more than there should be is enough to see that something is wrong.
        let most = file.size.map_or(u64::MAX, |size| size.saturating_add(1));
        // Bytes that come a second time are no progress.
        let mut longest = partial.len()?;
        while !partial.is_done() {
            let start = partial.len()?;
            if start > 0 && file.size.is_some_and(|size| start >= size) {
                return partial.finish(file);
            }
            let response = match client.get(url, start) {
                Ok(response) if is_passing(response.status()) => {
                    failures.add(format!("status {}", response.status()).into())?;
                    continue;
                }
                Ok(response) => response,
                Err(e) => {
                    failures.add(Box::new(e))?;
                    continue;
                }
            };
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                partial.clear()?;
                failures.add("the hub has no such part of the file".into())?;
                continue;
            }
            client.check(url, place, &response)?;
            // One that sends the whole file, or another part of it, has not understood the request.
            if start > 0 && !continues_at(&response, start) {
                partial.clear()?;
                if response.status() == StatusCode::PARTIAL_CONTENT {
                    failures.add("the hub sent another part of the file".into())?;
                    continue;
                }
            }
            let before = partial.len()?;
            let body = response.into_body().into_reader();
            let came = partial.append(body, most.saturating_sub(before))?;
            let len = partial.len()?;
            if len > longest {
                longest = len;
                failures.clear();
            }
            match came {
                Ok(()) if file.size.is_none_or(|size| len >= size) => return partial.finish(file),
                Ok(()) => failures.add(format!("it ended after {len} bytes").into())?,
                Err(e) => failures.add(Box::new(e))?,
            }
        }
        Ok(())
    }
}

fn continues_at(response: &ureq::http::Response<ureq::Body>, start: u64) -> bool {
    let range = response.headers().get("content-range");
    let range = range.and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

/// Counts tries that brought nothing, and waits longer after each.
struct Failures<'a> {
    url: &'a str,
    limit: usize,
    number: usize,
}

impl<'a> Failures<'a> {
    fn new(url: &'a str, limit: usize) -> Self {
        Self {
            url,
            limit,
            number: 0,
        }
    }

    fn clear(&mut self) {
        self.number = 0;
    }

    fn add(&mut self, source: Box<dyn std::error::Error + Send + Sync>) -> Result<(), HubError> {
        self.number += 1;
        if self.number > self.limit {
            return Err(HubError::Connection {
                url: self.url.to_owned(),
                attempts: self.number,
                source,
            });
        }
        tracing::debug!(url = self.url, error = %source, "trying again");
        let wait = 100_u64 << (self.number - 1).min(6);
        std::thread::sleep(Duration::from_millis(wait));
        Ok(())
    }
}

fn check_repo(repo: &str) -> Result<(), HubError> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && !part.contains("..")
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if repo.split('/').count() <= 2 && repo.split('/').all(is_part) {
        return Ok(());
    }
    Err(HubError::Name {
        value: repo.to_owned(),
        expected: "the name of a repository, as in `organisation/name`",
    })
}

fn check_revision(revision: &str) -> Result<(), HubError> {
    let path = Path::new(revision);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+@".contains(&byte);
    let is_good = !revision.is_empty()
        && revision.bytes().all(is_plain)
        && path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
    if is_good {
        return Ok(());
    }
    Err(HubError::Name {
        value: revision.to_owned(),
        expected: "a branch, a tag or a commit",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_cache_are_refused() {
        for repo in ["a/b", "gpt2", "org-1/Model_2.5"] {
            check_repo(repo).unwrap();
        }
        for repo in [
            "", "/", "a/", "a/b/c", "../x", "a/..", ".git", "a b", "a/b?c", "ä",
        ] {
            assert!(check_repo(repo).is_err(), "{repo}");
        }
        for revision in ["main", "refs/pr/1", "v1.0", "0123abc"] {
            check_revision(revision).unwrap();
        }
        for revision in ["", "..", "a/../../b", "/main", "a b", "a?b", "a%2F"] {
            assert!(check_revision(revision).is_err(), "{revision}");
        }
    }

    #[test]
    fn the_environment_is_that_of_the_hubs_tools() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_from_file\n").unwrap();
        let home = dir.path().display().to_string();
        let hub = |pairs: &[(&str, &str)]| {
            let pairs = pairs.to_vec();
            let find = move |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            };
            Hub::from_variables(find).unwrap()
        };
        let plain = hub(&[("HF_HOME", &home)]);
        assert_eq!(plain.cache, dir.path().join("hub"));
        assert_eq!(plain.endpoint, ENDPOINT);
        assert_eq!(
            plain.token.as_ref().unwrap().header(),
            "Bearer hf_from_file"
        );
        assert!(!plain.is_offline && !format!("{plain:?}").contains("hf_from"));

        let set = hub(&[
            ("HF_HOME", &home),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_ENDPOINT", "http://x/"),
            ("HF_TOKEN", "hf_x"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        assert_eq!(set.cache, PathBuf::from("/cache"));
        assert_eq!(set.token.as_ref().unwrap().header(), "Bearer hf_x");
        assert!(set.is_offline && set.endpoint == "http://x/");
        let zero = hub(&[
            ("HF_HOME", &home),
            ("HF_HUB_OFFLINE", "0"),
            ("HF_TOKEN_PATH", "/none"),
        ]);
        assert!(!zero.is_offline && zero.token.is_none());
    }
}
