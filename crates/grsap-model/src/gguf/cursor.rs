use std::path::Path;

use crate::load_error::LoadError;

/// Reads little-endian fields from the front of a file and names the field that does not fit.
pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            path,
            bytes,
            position: 0,
        }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn truncated(&self, field: &str, needed: u64) -> LoadError {
        LoadError::Truncated {
            path: self.path.to_owned(),
            field: field.to_owned(),
            offset: self.position as u64,
            needed,
            file_len: self.bytes.len() as u64,
        }
    }

    pub(super) fn take(&mut self, field: &str, len: u64) -> Result<&'a [u8], LoadError> {
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.position.checked_add(len))
            .and_then(|end| self.bytes.get(self.position..end))
            .ok_or_else(|| self.truncated(field, len))?;
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], LoadError> {
        let taken = self.take(field, N as u64)?;
        taken
            .try_into()
            .map_err(|_| self.truncated(field, N as u64))
    }

    pub(super) fn u32(&mut self, field: &str) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &str) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(super) fn string(&mut self, field: &str) -> Result<String, LoadError> {
        let len = self.u64(field)?;
        let bytes = self.take(field, len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(e) => Err(LoadError::invalid(self.path, field, e)),
        }
    }

    /// Reads how many elements follow, each of at least `min_len` bytes, and checks that so many
    /// can be there.
    pub(super) fn count(&mut self, field: &str, min_len: usize) -> Result<usize, LoadError> {
        let count = self.u64(field)?;
        let needed = count.saturating_mul(min_len as u64);
        let left = self.bytes.len().saturating_sub(self.position) as u64;
        if needed > left {
            return Err(self.truncated(field, needed));
        }
        usize::try_from(count).map_err(|_| self.truncated(field, needed))
    }
}
