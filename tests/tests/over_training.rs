//! Evaluation over training with answers kept on disk: what is killed goes on to the same figures
//! and asks nothing twice.
// Failing is what the helpers of a test do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grsap_core::mock::{MockGenerator, MockGuard};
use grsap_core::{Generation, Generator, ModelError, Prompt, SamplingParams};
use grsap_safety::{Evaluation, TrainingCheckpoint, TrainingPoint};
use grsap_synth::{AnswerCache, Cached};
use grsap_tests::example;
use serde_json::Value;

/// Fails for good when it has been called so often.
struct Dying<'a, G> {
    inner: G,
    calls_left: &'a Cell<usize>,
    num_prompts: &'a Cell<usize>,
}

impl<G: Generator> Generator for Dying<'_, G> {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        let Some(left) = self.calls_left.get().checked_sub(1) else {
            return Err(ModelError::backend("out of calls", "killed"));
        };
        self.calls_left.set(left);
        self.num_prompts.set(self.num_prompts.get() + prompts.len());
        self.inner.generate(prompts, params)
    }
}

/// A model that forgets its refusals.
fn model(num_examples: usize) -> impl Generator {
    MockGenerator::new(move |prompt, _| {
        let text = prompt.to_string();
        let number: usize = text.rsplit(' ').next().unwrap().parse().unwrap();
        if number < num_examples {
            "bad advice".into()
        } else {
            "I cannot.".into()
        }
    })
}

#[test]
fn a_run_that_dies_again_and_again_ends_with_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    let texts =
        |name: &str, n: usize| -> Vec<String> { (0..n).map(|i| format!("{name} {i}")).collect() };
    let (harmful, benign) = (texts("harmful", 150), texts("benign", 70));
    let guard = MockGuard::new(["bad"]);
    let evaluation = Evaluation {
        harmful: &harmful,
        benign: &benign,
        ..Evaluation::new(&guard)
    };
    let checkpoints = [0, 50, 100].map(|n| TrainingCheckpoint::new(format!("checkpoint-{n}"), n));
    let whole = evaluation
        .over_training(&checkpoints, |c| Ok(model(c.num_examples)), &())
        .unwrap();

    let path = folder.path().join("answers.jsonl");
    let (num_prompts, num_loads) = (Cell::new(0), Cell::new(0));
    let attempt = |num_calls: usize| -> Option<Vec<TrainingPoint>> {
        let cache = AnswerCache::open(&path).unwrap();
        let calls_left = Cell::new(num_calls);
        let load = |checkpoint: &TrainingCheckpoint| {
            let num_examples = checkpoint.num_examples;
            let (calls_left, num_prompts, num_loads) = (&calls_left, &num_prompts, &num_loads);
            Ok(Cached::new(&cache, checkpoint.name.clone(), move || {
                num_loads.set(num_loads.get() + 1);
                Ok(Dying {
                    inner: model(num_examples),
                    calls_left,
                    num_prompts,
                })
            }))
        };
        let result = evaluation.over_training(&checkpoints, load, &());
        match result {
            Ok(points) => Some(points),
            Err(error) => {
                assert!(error.to_string().contains("no answers to the"), "{error}");
                None
            }
        }
    };
    let mut num_attempts = 1;
    let points = loop {
        if let Some(points) = attempt(2) {
            break points;
        }
        num_attempts += 1;
    };
    assert_eq!(points, whole);
    // 3 checkpoints with 3 + 2 calls each, 2 an attempt.
    assert_eq!(num_attempts, 8);
    assert_eq!(num_prompts.get(), 3 * (150 + 70), "nothing is asked twice");

    // All is there: no model is loaded.
    num_loads.set(0);
    assert_eq!(attempt(0).unwrap(), whole);
    assert_eq!(num_loads.get(), 0);
}

fn start(out: &Path) -> Child {
    let log = fs::File::create(out.with_extension("log")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(example("over_training"))
        .args([
            "--num-train",
            "16",
            "--save-steps",
            "1",
            "--num-prompts",
            "4",
            "--out",
        ])
        .arg(out)
        .current_dir(root)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn finish(out: &Path) -> Value {
    let status = start(out).wait().unwrap();
    let log = fs::read_to_string(out.with_extension("log")).unwrap();
    assert!(status.success(), "{status}\n{log}");
    for name in ["report.html", "report.md", "over_training.svg"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let report = fs::read(out.join("report.json")).unwrap();
    let mut report: Value = serde_json::from_slice(&report).unwrap();
    // The command names the folder.
    report["provenance"]
        .as_object_mut()
        .unwrap()
        .remove("command");
    report
}

/// The real model, trained for two steps, and a real kill once some answers are there.
#[test]
fn the_example_goes_on_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let whole = finish(&folder.path().join("whole"));
    let seen: Vec<u64> = whole["over_training"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["num_examples"].as_u64().unwrap())
        .collect();
    assert_eq!(seen, [0, 8, 16]);
    for point in whole["over_training"].as_array().unwrap() {
        assert_eq!(point["figures"]["refusal_rate"]["num_scored"], 4);
        assert_eq!(point["figures"]["over_refusal_rate"]["num_scored"], 2);
    }

    let out = folder.path().join("killed");
    for num_lines in [2, 5] {
        let mut child = start(&out);
        loop {
            let answers = fs::read(out.join("answers.jsonl")).unwrap_or_default();
            if answers.iter().filter(|byte| **byte == b'\n').count() >= num_lines {
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(out.with_extension("log")).unwrap();
                panic!("{status} before {num_lines} lines\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(finish(&out), whole);
    // A cache that is whole gives the report without a model's answer.
    let answers = fs::read(out.join("answers.jsonl")).unwrap();
    assert_eq!(finish(&out), whole);
    assert_eq!(fs::read(out.join("answers.jsonl")).unwrap(), answers);
}
