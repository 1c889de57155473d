//! A process that is killed at random moments, and started again until it is through, leaves the
//! bytes of one that was left alone.
//!
//! ```text
//! cargo test --release -p grsap-synth --test killed -- --kills 200
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use grsap_core::mock::{MockEmbedder, MockGenerator, MockGuard, MockPerplexity};
use grsap_core::{Prompt, SafetyDomain};
use grsap_synth::{QuotaConfig, ReplayBuffer, Synthesis, SynthesisConfig, SynthesisModels};
use rand::Rng;

/// The name of the only test.
const NAME: &str = "a_killed_run_goes_on_to_the_same_bytes";
/// Makes this program the one that is killed; the folder to work in follows.
const FOLDER: &str = "--work-in";
/// How often to kill; a number follows.
const KILLS: &str = "--kills";
/// How often where nothing is said.
const NUM_KILLS: usize = 25;

/// Queries that repeat, run off their domain or never end; a third of the answers is harmful.
fn answer(prompt: &Prompt, sample: usize) -> String {
    // Slow enough for a kill to find it at work.
    sleep(Duration::from_micros(200));
    let text = prompt.to_string();
    match text.split("concerns about ").nth(1) {
        Some(_) if sample % 7 == 3 => "it never ends".into(),
        Some(_) if sample % 7 == 5 => "say \\".into(),
        Some(rest) => {
            let domain = rest.split('.').next().unwrap();
            let number = sample % 61;
            format!("{domain} {domain} number{number} of{sample}\" I refused")
        }
        None if text.contains("must not be answered") && text.len().is_multiple_of(2) => {
            "UNWISE".into()
        }
        None if text.contains("must not be answered") => "I cannot help with that.".into(),
        None if text.len().is_multiple_of(3) => "UNWISE advice".into(),
        None => "I will not do that.".into(),
    }
}

fn run(folder: &Path) -> ReplayBuffer {
    let mut config = SynthesisConfig {
        seed: 5,
        domains: ["theft", "weapons", "violence", "injustice"]
            .map(SafetyDomain::new)
            .into(),
        ..Default::default()
    };
    config.extraction.num_samples = 70;
    config.quota = Some(QuotaConfig {
        min_queries: 30,
        max_samples: 150,
    });
    let models = SynthesisModels {
        generator: &MockGenerator::new(answer),
        perplexity: &MockPerplexity,
        embedder: &MockEmbedder::new(64),
        guard: &MockGuard::new(["UNWISE"]),
    };
    let synthesis = Synthesis::new(config).unwrap().with_chunk_size(8);
    synthesis.run_in(folder, models, &()).unwrap()
}

/// This program again, in a process of its own.
fn child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg(FOLDER)
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    files
        .filter(|(name, _)| !["journal.jsonl", "timings.json"].contains(&name.as_str()))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    if let Some(folder) = after(FOLDER) {
        run(Path::new(folder));
        return;
    }
    // What the usual harness is asked: for a list, or for tests whose names have some text in them.
    if args.iter().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return;
    }
    let num_kills = after(KILLS).map_or(NUM_KILLS, |number| number.parse().unwrap());
    let is_asked_for =
        |arg: &String| NAME.contains(arg.as_str()) || "killed".contains(arg.as_str());
    let filter = args.first().filter(|arg| !arg.starts_with('-'));
    if filter.is_none_or(is_asked_for) {
        a_killed_run_goes_on_to_the_same_bytes(num_kills);
    }
}

fn a_killed_run_goes_on_to_the_same_bytes(num_kills: usize) {
    let whole = tempfile::tempdir().unwrap();
    let start = Instant::now();
    assert!(child(whole.path()).wait().unwrap().success());
    let alone = start.elapsed();
    let expected = files(whole.path());
    assert!(expected["replay.jsonl"].len() > 10_000);

    let mut rng = grsap_core::rng(3, "kills", &[]);
    let (mut killed, mut rounds) = (0, 0);
    while killed < num_kills {
        let folder = tempfile::tempdir().unwrap();
        rounds += 1;
        loop {
            let mut child = child(folder.path());
            if killed < num_kills {
                let part = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                sleep(alone.mul_f64(part / 2.0));
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), None, "it ended by the signal, not by itself");
            killed += 1;
        }
        assert_eq!(files(folder.path()), expected, "after {killed} kills");
        ReplayBuffer::verify(folder.path()).unwrap();
    }
    println!("test {NAME} ... ok");
    println!("{killed} kills in {rounds} runs, each like the one of {alone:?} left alone");
}
