//! Damaged and hostile model files: every file of the fuzzers' corpus, every input that once was a
//! finding, and some thousand changes of them, through the functions that the fuzzers call
//! (`tests/fuzz`). A panic fails, and so does more memory than such an input may cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// The modules are those of another crate; not all of them is used here.
#![allow(dead_code, unreachable_pub)]

#[path = "../fuzz/src/allocation.rs"]
mod allocation;
#[path = "../../crates/grsap-model/src/gguf/builder.rs"]
mod builder;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};

use targets::Target;

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// Changed inputs of each kind.
const NUM_CHANGED: usize = 3000;

/// No input takes nearly so long.
const LONGEST: Duration = Duration::from_secs(20);

fn folder(kind: &str, target: Target) -> PathBuf {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    fuzz.join(kind).join(target.name())
}

fn files(kind: &str, target: Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder(kind, target)) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Runs an input and says which one it was if that fails.
fn run(target: Target, name: &str, data: &[u8]) {
    let start = Instant::now();
    let finished = catch_unwind(AssertUnwindSafe(|| target.run(data))).is_ok();
    let kept = std::env::temp_dir().join(format!("grsap-finding-{}", target.name()));
    if !finished {
        std::fs::write(&kept, data).unwrap();
    }
    assert!(
        finished,
        "{}: {name} failed; it is at {}",
        target.name(),
        kept.display()
    );
    let took = start.elapsed();
    assert!(took < LONGEST, "{}: {name} took {took:?}", target.name());
}

/// A few of the changes that files suffer: bytes, numbers, cuts, repetitions, parts of others.
fn change(data: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    const NUMBERS: [u64; 8] = [0, 1, 0x7F, 0xFF, 0xFFFF, u32::MAX as u64, 1 << 61, u64::MAX];
    for _ in 0..rng.random_range(1..4) {
        let len = data.len();
        let at = rng.random_range(0..len.max(1)).min(len);
        match rng.random_range(0..6) {
            0 if at < len => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < len => data[at] = rng.random(),
            2 => data.truncate(at),
            3 => {
                let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                for (byte, new) in data[at..].iter_mut().zip(&number[..width]) {
                    *byte = *new;
                }
            }
            4 => {
                let end = (at + rng.random_range(1..64)).min(len);
                let part = data[at..end].repeat(rng.random_range(1..4));
                data.splice(at..at, part);
            }
            _ if !other.is_empty() => {
                let start = rng.random_range(0..other.len());
                let end = (start + rng.random_range(1..64)).min(other.len());
                data.splice(at..at, other[start..end].iter().copied());
            }
            _ => {}
        }
    }
}

// One test: the memory that one input costs can only be told when no other runs.
#[test]
fn damaged_and_hostile_files_are_errors() {
    for target in Target::ALL {
        seeds_are_in_the_corpus(target);
        let corpus = files("corpus", target);
        let findings = files("regressions", target);
        for (name, data) in corpus.iter().chain(&findings) {
            run(target, name, data);
        }
        let mut rng = grsap_core::rng(7, target.name(), &[]);
        for index in 0..NUM_CHANGED {
            let (name, data) = &corpus[rng.random_range(0..corpus.len())];
            let (_, other) = &corpus[rng.random_range(0..corpus.len())];
            let mut data = data.clone();
            change(&mut data, other, &mut rng);
            run(target, &format!("change {index} of {name}"), &data);
        }
    }
}

/// With `GRSAP_WRITE_SEEDS` set they are put there.
fn seeds_are_in_the_corpus(target: Target) {
    let folder = folder("corpus", target);
    for (name, seed) in seeds::seeds(target) {
        let path = folder.join(name);
        if std::env::var_os("GRSAP_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &seed).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == seed, "{} is not the seed", path.display());
    }
}
