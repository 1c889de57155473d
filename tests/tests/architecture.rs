//! The shape of the workspace: who may know whom, what stays light, what a published crate has.
//!
//! It asks `cargo metadata` and reads the tree, so it needs no model and no network.
// Clippy lets test functions panic, but not their helpers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crates of this workspace a published crate may depend on, optional dependencies included.
/// An edge that is not here is an error: add it only after the diagram in `docs/src/architecture.md`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("grsap-core", &[]),
    ("grsap-data", &["grsap-core"]),
    ("grsap-synth", &["grsap-core", "grsap-data"]),
    ("grsap-safety", &["grsap-core"]),
    ("grsap-kernels", &[]),
    ("grsap-model", &["grsap-core", "grsap-kernels"]),
    (
        "grsap-lora",
        &["grsap-core", "grsap-data", "grsap-kernels", "grsap-model"],
    ),
    (
        "grsap-replay",
        &[
            "grsap-core",
            "grsap-data",
            "grsap-kernels",
            "grsap-lora",
            "grsap-model",
            "grsap-safety",
            "grsap-synth",
        ],
    ),
];

/// They depend on anything and nothing depends on them.
const UNPUBLISHED: &[&str] = &["grsap-benches", "grsap-tests"];

/// Crates that build in seconds, because no tensor, tokenizer, network client or async runtime is
/// below them.
const LIGHT: &[&str] = &["grsap-core", "grsap-data", "grsap-synth", "grsap-safety"];

/// Beginnings of the names of what light crates do without.
const HEAVY: &[&str] = &[
    "async-std",
    "burn",
    "candle",
    "cubecl",
    "curl",
    "cudarc",
    "hf-hub",
    "hyper",
    "minijinja",
    "native-tls",
    "openssl",
    "ort",
    "reqwest",
    "rustls",
    "safetensors",
    "smol",
    "tch",
    "tokenizers",
    "tokio",
    "ureq",
    "wgpu",
];

/// What lies at the top, apart from names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "crates",
    "docs",
    "rust-toolchain.toml",
    "tests",
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

struct Dependency {
    name: String,
    is_dev: bool,
}

struct Package {
    name: String,
    manifest: PathBuf,
    is_published: bool,
    fields: Value,
    dependencies: Vec<Dependency>,
}

impl Package {
    fn dependencies(&self, with_dev: bool) -> impl Iterator<Item = &str> {
        let wanted = self
            .dependencies
            .iter()
            .filter(move |d| with_dev || !d.is_dev);
        wanted.map(|d| d.name.as_str())
    }
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > UNPUBLISHED.len());
    packages
        .iter()
        .map(|package| Package {
            name: package["name"].as_str().unwrap().to_owned(),
            manifest: package["manifest_path"].as_str().unwrap().into(),
            // `publish = false` is an empty list of registries.
            is_published: package["publish"]
                .as_array()
                .is_none_or(|list| !list.is_empty()),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|dependency| Dependency {
                    name: dependency["name"].as_str().unwrap().to_owned(),
                    is_dev: dependency["kind"] == "dev",
                })
                .collect(),
            fields: package.clone(),
        })
        .collect()
}

/// The dependencies of every package in `Cargo.lock`, by name. Versions are not told apart, so it
/// says at most too much.
fn lock_file() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in text.split("[[package]]").skip(1) {
        let name = entry
            .lines()
            .find_map(|line| line.strip_prefix("name = \""))
            .unwrap();
        let dependencies = entry
            .split_once("dependencies = [")
            .map_or("", |(_, list)| list);
        let dependencies = dependencies.lines().filter_map(|line| {
            let name = line.trim().strip_prefix('"')?;
            name.split(['"', ' ']).next().map(str::to_owned)
        });
        edges
            .entry(name.trim_end_matches('"').to_owned())
            .or_default()
            .extend(dependencies);
    }
    assert!(edges.len() > 50, "the lock file was not understood");
    edges
}

fn is_heavy(name: &str) -> bool {
    HEAVY.iter().any(|heavy| {
        let rest = name.strip_prefix(heavy);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

#[test]
fn crates_know_only_whom_they_may() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let listed: BTreeSet<&str> = ALLOWED
        .iter()
        .map(|(name, _)| *name)
        .chain(UNPUBLISHED.iter().copied())
        .collect();
    assert_eq!(
        names, listed,
        "the members of the workspace and the list above"
    );

    for package in &packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            continue;
        };
        for dependency in package
            .dependencies(false)
            .filter(|name| names.contains(name))
        {
            assert!(
                allowed.contains(&dependency),
                "{} must not know {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn only_tests_and_benches_depend_on_the_facade() {
    for package in packages() {
        let is_free = UNPUBLISHED.contains(&package.name.as_str());
        assert_eq!(package.is_published, !is_free, "{}: publish", package.name);
        for dependency in package.dependencies(true) {
            let is_top = dependency == "grsap-replay" || UNPUBLISHED.contains(&dependency);
            assert!(
                is_free || !is_top,
                "{} must not depend on {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn light_crates_stay_light() {
    let lock = lock_file();
    let packages = packages();
    let by_name: BTreeMap<&str, &Package> = packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    for light in LIGHT {
        // The lock file lists the test dependencies of members too, so members are asked
        // themselves.
        let mut todo: Vec<(String, String)> = vec![((*light).to_owned(), (*light).to_owned())];
        let mut seen = BTreeSet::new();
        while let Some((name, path)) = todo.pop() {
            assert!(!is_heavy(&name), "a light crate is heavy: {path}");
            if !seen.insert(name.clone()) {
                continue;
            }
            let next: Vec<String> = match by_name.get(name.as_str()) {
                Some(member) => member.dependencies(false).map(str::to_owned).collect(),
                None => lock.get(&name).into_iter().flatten().cloned().collect(),
            };
            todo.extend(next.into_iter().map(|next| {
                let path = format!("{path} -> {next}");
                (next, path)
            }));
        }
        assert!(seen.contains("serde"), "{light}: the walk found nothing");
    }
    // The walk would find it.
    assert!(lock.keys().any(|name| is_heavy(name)));
    assert!(by_name["grsap-model"].dependencies(false).any(is_heavy));
}

/// Burn's backend layer, where fused operations are written, is named in one crate.
#[test]
fn backends_are_named_in_kernels_alone() {
    let backends = [
        "burn-backend",
        "burn-cubecl",
        "burn-cuda",
        "burn-flex",
        "burn-wgpu",
        "cubecl",
    ];
    for package in packages()
        .iter()
        .filter(|package| package.name != "grsap-kernels")
    {
        for dependency in package.dependencies(false) {
            assert!(
                !backends.contains(&dependency),
                "{} names {dependency}",
                package.name
            );
        }
        if package.is_published {
            for (path, text) in rust_files(&package.manifest.with_file_name("src")) {
                assert!(
                    !text.contains("burn::backend"),
                    "{} names a backend",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn published_crates_say_what_they_are() {
    for package in packages() {
        let manifest = fs::read_to_string(&package.manifest).unwrap();
        let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
        let name = &package.name;
        assert!(
            lints.trim_start().starts_with("workspace = true"),
            "{name}: lints.workspace"
        );
        assert!(
            package.fields["description"].is_string(),
            "{name}: description"
        );
        if package.is_published {
            for field in ["license", "repository", "rust_version"] {
                assert!(package.fields[field].is_string(), "{name}: {field}");
            }
            for field in ["keywords", "categories"] {
                assert_ne!(
                    package.fields[field].as_array().map(Vec::len),
                    Some(0),
                    "{name}: {field}"
                );
            }
            let folder = root().join("crates").join(name);
            assert_eq!(
                package.manifest,
                folder.join("Cargo.toml"),
                "a crate lies under its name"
            );
        }
    }
}

#[test]
fn nothing_is_skipped_or_left_to_do() {
    // In pieces, so that this file does not contain them.
    let forbidden = [
        concat!("#[", "ignore"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut num_files = 0;
    for folder in ["crates", "tests", "benches"] {
        for (path, text) in rust_files(&root().join(folder)) {
            for (line, content) in text.lines().enumerate() {
                for word in forbidden {
                    let place = format!("{}:{}", path.display(), line + 1);
                    assert!(!content.contains(word), "{place} has `{word}`");
                }
            }
            num_files += 1;
        }
    }
    assert!(num_files > 100, "{num_files} files were found");
}

#[test]
fn the_top_level_is_tidy() {
    let allowed: BTreeSet<&str> = TOP_LEVEL.iter().copied().collect();
    let found = top_level();
    let strangers: Vec<&String> = found
        .iter()
        .filter(|name| !name.starts_with('.') && !allowed.contains(name.as_str()))
        .collect();
    assert!(
        strangers.is_empty(),
        "not expected at the top: {strangers:?}"
    );
    for name in TOP_LEVEL {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn every_page_is_in_the_book() {
    let source = root().join("docs/src");
    let summary = fs::read_to_string(source.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|link| source.join(link.trim_start_matches("./")))
        .collect();
    let mut there: BTreeSet<PathBuf> = files(&source, "md").into_iter().collect();
    there.remove(&source.join("SUMMARY.md"));
    assert_eq!(listed, there, "the links of SUMMARY.md and the files");
}

/// Names that git tracks at the top; all names that are there, where this is no git checkout.
fn top_level() -> BTreeSet<String> {
    let git = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let names = String::from_utf8(output.stdout).unwrap();
            let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
            names
                .split('\0')
                .filter(|path| !path.is_empty())
                .map(first)
                .collect()
        }
        _ => fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "target")
            .collect(),
    }
}

fn rust_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files(folder, "rs").into_iter().map(read).collect()
}

/// All files below `folder` with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
