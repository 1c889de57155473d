use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What made the data, as the caller knows it.
///
/// The library only sees traits, so it cannot tell one model from another; what is given here goes
/// into the manifest, and a folder begun with one model is not continued with another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    /// The name of the model.
    pub model_id: String,
    /// SHA-256, or another mark of content, of the files involved, by their role.
    pub hashes: BTreeMap<String, String>,
    /// Versions of what ran the models, by name. That of grsap-synth is noted without it.
    pub versions: BTreeMap<String, String>,
}

impl Provenance {
    /// A model by its name.
    pub fn new(model_id: impl Into<String>) -> Self {
        Self {
            model_id: model_id.into(),
            ..Self::default()
        }
    }

    /// Adds the version of a library or a server.
    #[must_use]
    pub fn with_version(mut self, of: impl Into<String>, version: impl Into<String>) -> Self {
        self.versions.insert(of.into(), version.into());
        self
    }

    /// Adds the hash of a file, or of a text such as a chat template.
    #[must_use]
    pub fn with_hash(mut self, role: impl Into<String>, hash: impl Into<String>) -> Self {
        self.hashes.insert(role.into(), hash.into());
        self
    }
}
