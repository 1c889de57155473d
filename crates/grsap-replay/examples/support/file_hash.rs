//! What a file is known by.

use std::path::Path;

use anyhow::{Context, Result};
use grsap_replay::core::digest_hex;

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn file_hash(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(digest_hex(&bytes))
}
