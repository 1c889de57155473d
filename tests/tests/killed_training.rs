//! A training process that is killed at random moments, and started again until it is through,
//! leaves the bytes of one that was left alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use burn::tensor::Device;
use grsap_lora::{
    FullFineTuning, JsonlMetrics, KeepBest, LoraConfig, Resume, SftExample, Trainable, Trainer,
    TrainerConfig, attach,
};
use grsap_model::{Decoder, DecoderConfig, SafetensorsFile};
use rand::{Rng, RngExt};

/// Where the child works, and what it trains. Without them the test is the parent.
const FOLDER: &str = "GRSAP_KILLED_FOLDER";
const KIND: &str = "GRSAP_KILLED_KIND";
/// How often to kill each kind of run, instead of [`NUM_KILLS`].
const KILLS: &str = "GRSAP_NUM_KILLS";
const NUM_KILLS: usize = 5;

fn decoder() -> Decoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lora_tiny/model");
    let config = DecoderConfig::from_hf_file(&dir.join("config.json")).unwrap();
    let weights = SafetensorsFile::open(&dir).unwrap();
    Decoder::load(&weights, &config, &Device::flex()).unwrap()
}

fn examples() -> Vec<SftExample> {
    let mut rng = grsap_core::rng(5, "examples", &[]);
    (0..60)
        .map(|index| {
            let len = rng.random_range(4..40);
            let ids = (0..len).map(|_| rng.random_range(3..90)).collect();
            let targets = (0..len).map(|i| i >= len / 2).collect();
            let group = if index % 3 == 0 { "replay" } else { "task" };
            SftExample::new(ids, targets).unwrap().with_group(group)
        })
        .collect()
}

/// Everything that has a state: dropout, shuffling, accumulation, an average, the best checkpoint.
fn run(folder: &Path, trainable: impl Trainable, mut decoder: Decoder) {
    let config = TrainerConfig {
        learning_rate: 1e-3,
        num_train_epochs: 4,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        group_by_length: true,
        ema_decay: Some(0.9),
        kl_coef: 0.1,
        save_steps: Some(3),
        save_total_limit: Some(2),
        seed: 8,
        ..TrainerConfig::default()
    };
    let metric = |step: usize, dir: &Path| {
        assert!(dir.join("trainer_state.json").is_file());
        Ok((step as f64 * 0.7).sin())
    };
    Trainer::new(config, trainable)
        .unwrap()
        .with_output_dir(folder)
        .with_resume(Resume::Latest)
        .train(
            &mut decoder,
            &examples(),
            &mut [
                &mut JsonlMetrics::new(folder.join("metrics.jsonl")),
                &mut KeepBest::lowest(folder.join("best"), metric),
            ],
        )
        .unwrap();
}

fn run_kind(kind: &str, folder: &Path) {
    let mut decoder = decoder();
    if kind == "full" {
        return run(folder, FullFineTuning::default(), decoder);
    }
    let lora = LoraConfig {
        r: 4,
        lora_dropout: 0.1,
        ..LoraConfig::default()
    };
    attach(&mut decoder, &lora, 1).unwrap();
    run(folder, lora, decoder);
}

/// This test again, in a process of its own.
fn child(kind: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_run_goes_on_to_the_same_bytes"])
        .env(FOLDER, folder)
        .env(KIND, kind)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// All files by their paths, but for the measured seconds in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with(".tmp") {
                continue; // A file that was being written beside its place.
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            if path
                .extension()
                .is_some_and(|e| e == "json" || e == "jsonl")
            {
                let text = String::from_utf8(bytes).unwrap();
                let parts = text.split("\"seconds\":").enumerate();
                let without = parts.map(|(i, part)| match i {
                    0 => part,
                    _ => part.trim_start_matches([
                        ' ', '.', 'e', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
                    ]),
                });
                bytes = without.collect::<String>().into_bytes();
            }
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
        }
    }
    found
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        run_kind(&std::env::var(KIND).unwrap(), Path::new(&folder));
        return;
    }
    let num_kills = std::env::var(KILLS).map_or(NUM_KILLS, |kills| kills.parse().unwrap());
    let mut rng = grsap_core::rng(3, "kills", &[]);
    for kind in ["lora", "full"] {
        let whole = tempfile::tempdir().unwrap();
        let start = Instant::now();
        assert!(child(kind, whole.path()).wait().unwrap().success());
        let alone = start.elapsed();
        let expected = files(whole.path());
        assert!(expected.contains_key(Path::new("checkpoint-60/optimizer.safetensors")));
        assert!(expected.contains_key(Path::new("checkpoint-57/trainer_state.json")));

        let (mut killed, mut rounds, mut steps) = (0, 0, 0);
        while killed < num_kills {
            let folder = tempfile::tempdir().unwrap();
            rounds += 1;
            loop {
                let mut child = child(kind, folder.path());
                if killed < num_kills {
                    let part = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                    sleep(alone.mul_f64(part));
                    child.kill().unwrap();
                }
                let status = child.wait().unwrap();
                if status.success() {
                    break;
                }
                assert_eq!(status.code(), None, "it ended by the signal, not by itself");
                killed += 1;
                let found = grsap_lora::latest_checkpoint(folder.path()).unwrap();
                steps += found.map_or(0, |(step, _)| step);
            }
            let found = files(folder.path());
            let names = |files: &BTreeMap<PathBuf, _>| files.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&found), names(&expected), "after {killed} kills");
            for (name, bytes) in &found {
                let same = *bytes == expected[name];
                assert!(same, "{} differs after {killed} kills", name.display());
            }
        }
        eprintln!(
            "{kind}: {killed} kills in {rounds} runs, at checkpoint {:.0} of 60 in the mean, each \
             like the one of {alone:?} left alone",
            f64::from(steps as u32) / f64::from(killed as u32)
        );
    }
}
