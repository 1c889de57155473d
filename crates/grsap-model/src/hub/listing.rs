use serde::Deserialize;

use super::error::HubError;

const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What a chat model or a sentence encoder reads beside its weights, where it is there.
const SMALL_FILES: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

/// One commit of a repository, as the hub describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "sha")]
    pub(super) commit: String,
    siblings: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RemoteFile {
    #[serde(rename = "rfilename")]
    pub(super) name: String,
    pub(super) size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    sha256: String,
}

impl RemoteFile {
    /// The name that the hub's tools give the content in the cache.
    pub(super) fn blob_name(&self) -> Option<&str> {
        let name = self.sha256().or(self.blob_id.as_deref())?;
        is_hash(name).then_some(name)
    }

    /// The hash of the content, of large files.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.lfs.as_ref().map(|lfs| lfs.sha256.as_str())
    }
}

/// Whether this is a commit or the name of a content: 40 or 64 hexadecimal digits.
pub(super) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Listing {
    pub(super) fn parse(url: &str, json: &[u8]) -> Result<Self, HubError> {
        let listing: Self = serde_json::from_slice(json).map_err(|e| HubError::answer(url, e))?;
        if !is_hash(&listing.commit) {
            let reason = format!("`{}` is not a commit", listing.commit);
            return Err(HubError::answer(url, reason));
        }
        Ok(listing)
    }

    pub(super) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.siblings.iter().find(|file| file.name == name)
    }

    /// The files to fetch before the weights, the weights' index among them if there is one.
    pub(super) fn small_files(&self) -> impl Iterator<Item = &RemoteFile> {
        let index = self.file(WEIGHTS).is_none().then_some(INDEX);
        let names = SMALL_FILES.iter().copied().chain(index);
        names.filter_map(|name| self.file(name))
    }

    /// The names of the weights' files, from the index where they are in shards.
    pub(super) fn weights(
        &self,
        repo: &str,
        index: Option<&[u8]>,
    ) -> Result<Vec<&RemoteFile>, HubError> {
        let names = match index {
            None => vec![WEIGHTS.to_owned()],
            Some(json) => shards(json).map_err(|e| HubError::answer(INDEX, e))?,
        };
        names
            .iter()
            .map(|name| self.file(name).ok_or_else(|| self.missing(repo, name)))
            .collect()
    }

    pub(super) fn missing(&self, repo: &str, what: &str) -> HubError {
        HubError::MissingFile {
            repo: repo.to_owned(),
            what: what.to_owned(),
            there: self
                .siblings
                .iter()
                .take(20)
                .map(|file| file.name.clone())
                .collect(),
        }
    }
}

/// The files that an index of weights names. They lie beside it.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|e| e.to_string())?;
    let names: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
    for name in &names {
        if std::path::Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("`{name}` is not a file name"));
        }
    }
    Ok(names.into_iter().collect())
}

/// What a complete snapshot must have, the weights' shards apart.
pub(super) fn first_missing(snapshot: &std::path::Path) -> Option<String> {
    let is_there = |name: &str| snapshot.join(name).is_file();
    // Other tools share the cache, and bring the weights without the tokenizer's files.
    for name in ["config.json", "tokenizer.json"] {
        if !is_there(name) {
            return Some(name.into());
        }
    }
    if is_there(WEIGHTS) {
        return None;
    }
    let Ok(index) = std::fs::read(snapshot.join(INDEX)) else {
        return Some(WEIGHTS.into());
    };
    match shards(&index) {
        Ok(shards) => shards.into_iter().find(|name| !is_there(name)),
        Err(_) => Some(INDEX.into()),
    }
}
