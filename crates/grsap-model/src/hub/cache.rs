use std::fs::{File, OpenOptions};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest as _, Sha256};

use super::error::HubError;
use super::listing::RemoteFile;

/// One repository in the cache of the hub's tools: contents in `blobs`, commits in `snapshots`, which
/// commit a branch is at in `refs`.
pub(super) struct RepoCache {
    folder: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let cache = Cache::new(cache.to_owned());
        let folder = Repo::new(repo.to_owned(), RepoType::Model).folder_name();
        Self {
            folder: cache.path().join(folder),
        }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a branch was at when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        super::listing::is_hash(commit).then(|| commit.to_owned())
    }

    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.folder.join("refs").join(revision);
        write_whole(&path, commit.as_bytes())
    }

    /// A content that is there under its final name.
    pub(super) fn blob(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join("blobs").join(name);
        path.is_file().then_some(path)
    }

    /// Opens what has come of a content so far. Another process that fetches the same content is
    /// waited for.
    pub(super) fn partial(&self, blob: &str) -> Result<Partial, HubError> {
        let folder = self.folder.join("blobs");
        std::fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        let path = folder.join(format!("{blob}.incomplete"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(HubError::io(&path))?;
        file.lock().map_err(HubError::io(&path))?;
        Ok(Partial {
            file,
            path,
            done: folder.join(blob),
        })
    }

    /// Makes a content appear as a file of a commit.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile, blob: &str) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(&file.name);
        if pointer.is_file() {
            return Ok(());
        }
        let folder = pointer.parent().unwrap_or(&pointer);
        std::fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        let depth = 2 + file.name.matches('/').count();
        let target: PathBuf = std::iter::repeat_n("..", depth)
            .chain(["blobs", blob])
            .collect();
        let whole = self.folder.join("blobs").join(blob);
        // Under a name of its own first: others may be at the same place.
        let beside = beside(&pointer);
        symlink(&target, &beside)
            .or_else(|_| std::fs::hard_link(&whole, &beside))
            .or_else(|_| std::fs::copy(&whole, &beside).map(drop))
            .and_then(|()| std::fs::rename(&beside, &pointer))
            .map_err(HubError::io(&pointer))
    }
}

/// A name that no other thread and no other process uses.
fn beside(path: &Path) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.new", std::process::id()));
    path.with_file_name(name)
}

#[cfg(unix)]
fn symlink(target: &Path, pointer: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Writes beside the place and renames.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    let beside = beside(path);
    std::fs::write(&beside, bytes).map_err(HubError::io(&beside))?;
    std::fs::rename(&beside, path).map_err(HubError::io(path))
}

/// A content that is being fetched, locked.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    done: PathBuf,
}

impl Partial {
    /// Whether another process has finished it meanwhile. What was opened is then either that
    /// file or a new one that is not needed.
    pub(super) fn is_done(&self) -> bool {
        let is_done = self.done.is_file();
        if is_done {
            let _ = std::fs::remove_file(&self.path);
        }
        is_done
    }

    pub(super) fn len(&self) -> Result<u64, HubError> {
        let metadata = self.file.metadata().map_err(HubError::io(&self.path))?;
        Ok(metadata.len())
    }

    /// Forgets what has come.
    pub(super) fn clear(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::io(&self.path))
    }

    /// Appends what comes, up to `limit` bytes. Failures to read are given back beside those to
    /// write: they are another matter.
    pub(super) fn append(
        &mut self,
        mut from: impl Read,
        limit: u64,
    ) -> Result<std::io::Result<()>, HubError> {
        self.file
            .seek(SeekFrom::End(0))
            .map_err(HubError::io(&self.path))?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = limit;
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Err(e)),
            };
            let kept = read.min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = buffer.get(..kept).unwrap_or_default();
            self.file
                .write_all(bytes)
                .map_err(HubError::io(&self.path))?;
            left -= kept as u64;
            if kept < read {
                return Ok(Ok(()));
            }
        }
    }

    /// Checks the content and gives it its final name. What is wrong is thrown away.
    pub(super) fn finish(mut self, file: &RemoteFile) -> Result<(), HubError> {
        let damaged = |expected: String, got: String| HubError::Damaged {
            file: file.name.clone(),
            expected,
            got,
        };
        let len = self.len()?;
        if let Some(size) = file.size.filter(|size| *size != len) {
            self.clear()?;
            return Err(damaged(format!("{size} bytes"), format!("{len} bytes")));
        }
        if let Some(expected) = file.sha256() {
            let got = self.sha256()?;
            if got != expected {
                self.clear()?;
                return Err(damaged(format!("SHA-256 {expected}"), got));
            }
        }
        self.file.sync_all().map_err(HubError::io(&self.path))?;
        std::fs::rename(&self.path, &self.done).map_err(HubError::io(&self.done))
    }

    fn sha256(&mut self) -> Result<String, HubError> {
        self.file.rewind().map_err(HubError::io(&self.path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = self
                .file
                .read(&mut buffer)
                .map_err(HubError::io(&self.path))?;
            if read == 0 {
                let digest = hash.finalize();
                return Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hash.update(buffer.get(..read).unwrap_or_default());
        }
    }
}
