//! A made-up package instead of a download; a shell script instead of Python.
#![cfg(unix)]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fetch::Fetcher;
use super::package::{ALL, Kind, Member, Package};
use super::*;

const HELLO: &[u8] = b"hello";
const HELLO_SHA: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

const KINDS: [Kind; 3] = [Kind::Wheel, Kind::Sdist { sha256: "0" }, Kind::Npm];

/// A folder with a package, a stand-in for Python, and a fetcher that uses both.
struct Bench {
    dir: tempfile::TempDir,
    fetcher: Fetcher,
    package: Package,
}

impl Bench {
    /// A package whose archive holds `pkg/a.txt` with `content`.
    fn new(kind: Kind, content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (archive, inside) = match kind {
            Kind::Wheel => ("toy-1.0-py3-none-any.whl", "pkg/a.txt"),
            Kind::Sdist { .. } => ("toy-1.0.tar.gz", "toy-1.0/data/inner.tar.gz!pkg/a.txt"),
            Kind::Npm => ("toy-1.0.tgz", "pkg/a.txt"),
        };
        let bytes = match kind {
            Kind::Wheel => zip_of("pkg/a.txt", content),
            Kind::Sdist { .. } => {
                tar_of("toy-1.0/data/inner.tar.gz", &tar_of("pkg/a.txt", content))
            }
            Kind::Npm => tar_of("pkg/a.txt", content),
        };
        fs::write(dir.path().join(archive), &bytes).unwrap();
        let members = Box::leak(Box::new([Member {
            inside,
            to: "sub/a.txt",
            sha256: HELLO_SHA,
        }]));
        let package = Package {
            name: "toy",
            version: "1.0",
            licence: "none",
            archive,
            num_bytes: bytes.len() as u64,
            kind,
            folder: "toy",
            members,
        };
        let assets = dir.path().join("assets");
        fs::create_dir(&assets).unwrap();
        let mut fetcher = Fetcher::new(assets, Arc::new(()));
        fetcher.pythons = vec!["/nonexistent/python".into()];
        fetcher.npms = vec!["/nonexistent/npm".into()];
        let bench = Self {
            dir,
            fetcher,
            package,
        };
        // Called as `python -m pip download ... -d DIR toy==1.0` or as
        // `npm pack ... --pack-destination DIR toy@1.0`; counts its calls.
        bench.with_program(
            r#"
            echo call >> "$HERE/calls"
            while [ $# -gt 0 ]; do
                case "$1" in -d | --pack-destination) to=$2;; esac
                shift
            done
            cp "$HERE"/toy-1.0* "$to/"
            "#,
        )
    }

    fn with_program(mut self, script: &str) -> Self {
        let path = self.dir.path().join("python");
        let here = self.dir.path().display();
        let script = format!("#!/bin/sh\nHERE='{here}'\n{script}\n");
        // Written by a process of its own: a file that this one has open, or a child that it is
        // just starting, could not be run ("text file busy").
        let written = std::process::Command::new("sh")
            .args([
                "-c",
                r#"printf '%s' "$1" > "$2" && chmod 755 "$2""#,
                "sh",
                &script,
            ])
            .arg(&path)
            .status()
            .unwrap();
        assert!(written.success());
        match self.package.kind {
            Kind::Npm => self.fetcher.npms = vec![path],
            Kind::Wheel | Kind::Sdist { .. } => self.fetcher.pythons = vec![path],
        }
        self
    }

    fn ensure(&self) -> Result<PathBuf, AssetsError> {
        self.fetcher.ensure(&self.package)
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join(self.package.archive)
    }

    fn num_calls(&self) -> usize {
        fs::read_to_string(self.dir.path().join("calls")).map_or(0, |calls| calls.lines().count())
    }

    /// A new process: nothing is known to be checked.
    fn restarted(mut self) -> Self {
        self.fetcher = Fetcher {
            pythons: self.fetcher.pythons.clone(),
            npms: self.fetcher.npms.clone(),
            ..Fetcher::new(self.fetcher.dir.clone(), Arc::new(()))
        };
        self
    }

    /// Whatever failed, no half-written file stays.
    fn assert_no_leftovers(&self) {
        let names: Vec<_> = walk(&self.fetcher.dir)
            .into_iter()
            .filter(|path| !path.ends_with(".lock") && !path.ends_with("sub/a.txt"))
            .filter(|path| !path.starts_with(self.fetcher.dir.join("downloads")))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn zip_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(name, zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap().into_inner()
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn fetches_once_and_then_works_offline() {
    for kind in KINDS {
        let bench = Bench::new(kind, HELLO);
        let folder = bench.ensure().unwrap();
        assert_eq!(fs::read(folder.join("sub/a.txt")).unwrap(), HELLO);
        bench.ensure().unwrap();
        assert_eq!(bench.num_calls(), 1);
        bench.assert_no_leftovers();

        let mut offline = bench.restarted();
        offline.fetcher.pythons = vec!["/nonexistent/python".into()];
        offline.fetcher.npms = vec!["/nonexistent/npm".into()];
        offline.ensure().unwrap();
    }
}

#[test]
fn wrong_cached_file_is_fetched_again() {
    let bench = Bench::new(Kind::Wheel, HELLO);
    let path = bench.ensure().unwrap().join("sub/a.txt");
    fs::write(&path, b"hell").unwrap();
    let bench = bench.restarted();
    bench.ensure().unwrap();
    assert_eq!(fs::read(&path).unwrap(), HELLO);
    assert_eq!(bench.num_calls(), 2);
}

#[test]
fn wrong_hash_is_an_error_with_both_hashes_after_one_fetch() {
    for kind in KINDS {
        let bench = Bench::new(kind, b"something else");
        let error = bench.ensure().unwrap_err();
        assert!(matches!(&error, AssetsError::Hash { .. }), "{error:?}");
        let message = error.to_string();
        let got = grsap_core::digest_hex(b"something else");
        assert!(
            message.contains(HELLO_SHA) && message.contains(&got),
            "{message}"
        );
        assert_eq!(bench.num_calls(), 1);
        assert!(!bench.fetcher.dir.join("toy/sub/a.txt").exists());
        bench.assert_no_leftovers();
        // Not remembered as good.
        assert!(bench.ensure().is_err());
    }
}

#[test]
fn truncated_package_is_named_as_such() {
    for kind in KINDS {
        let bench = Bench::new(kind, HELLO);
        let bytes = fs::read(bench.archive()).unwrap();
        fs::write(bench.archive(), &bytes[..bytes.len() / 2]).unwrap();
        match bench.ensure().unwrap_err() {
            AssetsError::Truncated { expected, got, .. } => {
                assert_eq!(
                    (expected, got),
                    (bytes.len() as u64, bytes.len() as u64 / 2)
                );
            }
            error => panic!("{error:?}"),
        }
        bench.assert_no_leftovers();
    }
}

#[test]
fn damaged_package_is_an_archive_error() {
    for kind in KINDS {
        let bench = Bench::new(kind, HELLO);
        let mut bytes = fs::read(bench.archive()).unwrap();
        bytes.fill(7);
        fs::write(bench.archive(), &bytes).unwrap();
        let error = bench.ensure().unwrap_err();
        assert!(matches!(&error, AssetsError::Archive { .. }), "{error:?}");
    }
}

#[test]
fn one_changed_byte_inside_a_wheel_is_found() {
    let bench = Bench::new(Kind::Wheel, HELLO);
    let mut bytes = fs::read(bench.archive()).unwrap();
    // After the local header: 30 bytes and the name.
    bytes[30 + "pkg/a.txt".len()] ^= 0x55;
    fs::write(bench.archive(), &bytes).unwrap();
    let error = bench.ensure().unwrap_err();
    assert!(
        matches!(
            &error,
            AssetsError::Archive { .. } | AssetsError::Hash { .. }
        ),
        "{error:?}"
    );
    bench.assert_no_leftovers();
}

#[test]
fn missing_member_is_named() {
    for kind in KINDS {
        let mut bench = Bench::new(kind, HELLO);
        bench.package.members = &[Member {
            inside: "pkg/b.txt",
            to: "b.txt",
            sha256: HELLO_SHA,
        }];
        let error = bench.ensure().unwrap_err();
        assert!(
            matches!(
                &error,
                AssetsError::MemberMissing {
                    member: "pkg/b.txt",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_file_put_there_by_hand_is_used_and_checked() {
    let mut bench = Bench::new(Kind::Wheel, HELLO);
    bench.fetcher.pythons = vec!["/nonexistent/python".into()];
    let message = bench.ensure().unwrap_err().to_string();
    let downloads = bench.fetcher.dir.join("downloads");
    assert!(message.contains("pip download --no-deps"), "{message}");
    assert!(message.contains("toy==1.0"), "{message}");
    assert!(
        message.contains(&downloads.display().to_string()),
        "{message}"
    );

    fs::create_dir(&downloads).unwrap();
    fs::copy(bench.archive(), downloads.join(bench.package.archive)).unwrap();
    bench.ensure().unwrap();
}

#[test]
fn missing_python_names_what_was_tried() {
    let mut bench = Bench::new(Kind::Wheel, HELLO);
    bench.fetcher.pythons = vec!["/nonexistent/a".into(), "/nonexistent/b".into()];
    match bench.ensure().unwrap_err() {
        AssetsError::ProgramMissing { tried, package, .. } => {
            assert_eq!(tried, "/nonexistent/a, /nonexistent/b");
            assert_eq!(package, "toy");
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn missing_npm_is_named_with_what_to_do() {
    let mut bench = Bench::new(Kind::Npm, HELLO);
    bench.fetcher.npms = vec!["/nonexistent/npm".into()];
    let message = bench.ensure().unwrap_err().to_string();
    assert!(
        message.starts_with("npm was not found (tried /nonexistent/npm), so toy cannot be fetched"),
        "{message}"
    );
    assert!(message.contains("run `npm pack toy@1.0`"), "{message}");
}

#[test]
fn what_pip_says_is_passed_on() {
    let bench = Bench::new(Kind::Wheel, HELLO)
        .with_program("echo first >&2; echo 'No module named pip' >&2; exit 1");
    let error = bench.ensure().unwrap_err();
    assert!(matches!(&error, AssetsError::Download { .. }), "{error:?}");
    assert!(error.to_string().contains("No module named pip"), "{error}");
    bench.assert_no_leftovers();

    let silent = Bench::new(Kind::Wheel, HELLO).with_program("exit 0");
    let message = silent.ensure().unwrap_err().to_string();
    assert!(
        message.contains("left no toy-1.0-py3-none-any.whl"),
        "{message}"
    );
}

#[test]
fn standstill_ends() {
    let mut bench = Bench::new(Kind::Wheel, HELLO).with_program("exec sleep 60");
    bench.fetcher.patience = Duration::from_millis(200);
    let error = bench.ensure().unwrap_err();
    assert!(matches!(&error, AssetsError::Stalled { .. }), "{error:?}");
    bench.assert_no_leftovers();
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let bench = Bench::new(Kind::Wheel, HELLO);
    let dir = &bench.fetcher.dir;
    fs::create_dir(dir.join(".fetch-dead")).unwrap();
    fs::write(dir.join(".fetch-dead/part.whl"), b"half").unwrap();
    fs::write(dir.join(".fetch-half"), b"half").unwrap();
    bench.ensure().unwrap();
    assert!(!dir.join(".fetch-dead").exists());
    bench.assert_no_leftovers();
}

#[test]
fn two_at_once_fetch_once() {
    let bench = Bench::new(Kind::Wheel, HELLO);
    let other = Fetcher {
        pythons: bench.fetcher.pythons.clone(),
        ..Fetcher::new(bench.fetcher.dir.clone(), Arc::new(()))
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| bench.ensure().map(drop));
        let two = scope.spawn(|| other.ensure(&bench.package).map(drop));
        one.join().unwrap().unwrap();
        two.join().unwrap().unwrap();
    });
    assert_eq!(bench.num_calls(), 1);
}

#[test]
fn progress_is_told_what_is_downloaded() {
    #[derive(Default)]
    struct Count {
        started: AtomicUsize,
        finished: AtomicUsize,
    }
    impl Progress for Count {
        fn start(&self, task: &str, total: usize) {
            assert!(task.starts_with("download toy"), "{task}");
            assert!(total > 0);
            self.started.fetch_add(1, Ordering::SeqCst);
        }
        fn advance(&self, _units: usize) {}
        fn finish(&self) {
            self.finished.fetch_add(1, Ordering::SeqCst);
        }
    }
    let bench = Bench::new(Kind::Wheel, HELLO);
    let count = Arc::new(Count::default());
    let fetcher = Fetcher {
        pythons: bench.fetcher.pythons.clone(),
        ..Fetcher::new(bench.fetcher.dir.clone(), count.clone())
    };
    fetcher.ensure(&bench.package).unwrap();
    assert_eq!(count.started.load(Ordering::SeqCst), 1);
    assert_eq!(count.finished.load(Ordering::SeqCst), 1);
}

#[test]
fn the_table_of_packages_is_sound() {
    let mut targets = std::collections::BTreeSet::new();
    for package in ALL {
        assert!(
            package.archive.contains(package.version),
            "{}",
            package.name
        );
        assert!(!package.members.is_empty());
        for member in package.members {
            assert_eq!(member.sha256.len(), 64);
            assert!(
                member
                    .sha256
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            );
            assert!(targets.insert((package.folder, member.to)), "{}", member.to);
            // Nothing can be written outside of the folder.
            assert!(!member.to.contains("..") && !member.to.starts_with('/'));
        }
    }
}

#[test]
fn labels_are_read_with_notes_and_several_scores() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.csv");
    fs::write(
        &path,
        "# version=1\nobjective,assistant_response,human_score_1,human_score_2,data_type\n\
         #1 place,\"one, two\nthree\",1,0.5,text\n",
    )
    .unwrap();
    let rows = read_labels(&path, "toy").unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].prompt, "#1 place");
    assert_eq!(rows[0].response, "one, two\nthree");
    assert_eq!(rows[0].label, 0.75);

    for (bad, says) in [
        ("objective,assistant_response\na,b\n", "human_score"),
        ("objective,human_score\na,1\n", "assistant_response"),
        (
            "objective,assistant_response,human_score\na,b,yes\n",
            "\"yes\"",
        ),
        ("", "objective"),
    ] {
        fs::write(&path, bad).unwrap();
        let error = read_labels(&path, "toy").unwrap_err();
        assert!(matches!(error, AssetsError::Parse { .. }));
        assert!(error.to_string().contains(says), "{error}");
    }
}
