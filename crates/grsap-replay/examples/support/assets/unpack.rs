//! Reading archives, and hashing what comes out of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::AssetsError;

pub(super) type Save<'a> = &'a mut dyn FnMut(&mut dyn Read) -> Result<(), AssetsError>;
/// Outside: the archive is unreadable. `None`: there is no such member. Inside: saving failed.
pub(super) type Found = io::Result<Option<Result<(), AssetsError>>>;

pub(super) fn in_zip(archive: &Path, member: &str, save: Save<'_>) -> Found {
    let mut zip = zip::ZipArchive::new(File::open(archive)?)?;
    match zip.by_name(member) {
        Ok(mut file) => Ok(Some(save(&mut file))),
        Err(zip::result::ZipError::FileNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn in_tar(archive: &Path, member: &str, save: Save<'_>) -> Found {
    walk_tar(File::open(archive)?, member, save)
}

fn walk_tar(archive: impl Read, member: &str, save: Save<'_>) -> Found {
    let (here, below) = match member.split_once('!') {
        Some((here, below)) => (here, Some(below)),
        None => (member, None),
    };
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in tar.entries()? {
        let mut entry = entry?;
        if entry.path()? == Path::new(here) {
            return match below {
                // Behind a pointer, or the type of the reader would have no end.
                Some(below) => walk_tar(&mut entry as &mut dyn Read, below, save),
                None => Ok(Some(save(&mut entry))),
            };
        }
    }
    Ok(None)
}

/// Whether `path` is a file with that hash.
pub(super) fn has_hash(path: &Path, sha256: &str) -> Result<bool, AssetsError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(AssetsError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut hash = Sha256::new();
    let unreadable = |error| AssetsError::io(path)(error);
    read_chunks(&mut file, unreadable, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    Ok(hex(hash) == sha256)
}

pub(super) fn read_chunks(
    content: &mut dyn Read,
    unreadable: impl Fn(io::Error) -> AssetsError,
    mut to: impl FnMut(&[u8]) -> Result<(), AssetsError>,
) -> Result<(), AssetsError> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to(buffer.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
