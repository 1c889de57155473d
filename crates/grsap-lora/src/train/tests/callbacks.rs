use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use grsap_core::Progress;

use super::{config, lora};
use crate::adapter::{AdapterFactors, replace};
use crate::tiny_decoder::{adapted_decoder, random_examples, tiny_decoder};
use crate::train::*;

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Progress for Recorder {
    fn start(&self, task: &str, total: usize) {
        self.0.lock().unwrap().push(format!("{task} {total}"));
    }

    fn advance(&self, units: usize) {
        self.0.lock().unwrap().push(format!("+{units}"));
    }

    fn resume(&self, units: usize) {
        self.0.lock().unwrap().push(format!("from {units}"));
    }

    fn finish(&self) {
        self.0.lock().unwrap().push("end".into());
    }
}

#[derive(Default)]
struct Checkpoints(Vec<(usize, PathBuf)>);

impl Callback for Checkpoints {
    fn on_checkpoint(&mut self, step: usize, dir: &Path) -> Result<ControlFlow<()>, BoxError> {
        // It is complete: its adapter loads onto another handle of the model.
        crate::load_adapter(&mut tiny_decoder(), dir)?;
        self.0.push((step, dir.to_owned()));
        if step == 4 {
            Err("enough".into())
        } else {
            Ok(ControlFlow::Continue(()))
        }
    }
}

#[test]
fn callbacks_see_steps_and_checkpoints_and_can_fail() {
    let dir = tempfile::tempdir().unwrap();
    let metrics_path = dir.path().join("metrics.jsonl");
    let recorder = Recorder::default();
    let mut checkpoints = Checkpoints::default();
    let trainer = Trainer::new(config(), lora())
        .unwrap()
        .with_output_dir(dir.path());
    let run = |trainer: &Trainer, last: &mut dyn Callback| {
        trainer.train(
            &mut adapted_decoder(&lora()),
            &random_examples(11),
            &mut [
                &mut ShowProgress::new(&recorder, "train"),
                &mut JsonlMetrics::new(&metrics_path),
                last,
            ],
        )
    };
    let error = run(&trainer, &mut checkpoints).unwrap_err();
    assert_eq!(error.to_string(), "a callback failed at step 4");
    assert_eq!(
        checkpoints.0,
        [2, 4].map(|n| (n, dir.path().join(format!("checkpoint-{n}"))))
    );
    let expected = ["train 6", "+1", "+1", "+1", "+1", "end"];
    assert_eq!(*recorder.0.lock().unwrap(), expected);

    // Steps 3 and 4 are taken again; each has one line all the same.
    std::fs::remove_dir_all(dir.path().join("checkpoint-4")).unwrap();
    let trainer = trainer.with_resume(Resume::Latest);
    let report = run(&trainer, &mut ()).unwrap();
    let text = std::fs::read_to_string(&metrics_path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps: Vec<u64> = lines.iter().map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    for (line, loss) in lines.iter().zip(&report.losses) {
        assert!((line["loss"].as_f64().unwrap() - loss).abs() < 1e-6);
        assert!(line["grad_norm"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(
        recorder.0.lock().unwrap()[6..9],
        ["train 6", "from 2", "+1"]
    );
}

impl Callback for () {}

#[test]
fn the_best_checkpoint_is_kept_and_a_run_that_gets_worse_ends() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        num_train_epochs: 4,
        save_total_limit: Some(1),
        ..config()
    };
    let run = |values: [f64; 6], resume: Resume, patience: usize| {
        let trainer = Trainer::new(config.clone(), lora())
            .unwrap()
            .with_output_dir(dir.path())
            .with_resume(resume);
        let metric = |step: usize, _: &Path| Ok(values[step / 2 - 1]);
        let mut best = KeepBest::lowest(dir.path(), metric).with_patience(patience);
        let examples = random_examples(11);
        let report = trainer.train(&mut adapted_decoder(&lora()), &examples, &mut [&mut best]);
        (report, best.best(), best.best_dir())
    };
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    };
    let adapter = |dir: &Path| std::fs::read(dir.join("adapter_model.safetensors")).unwrap();

    // Ends after two checkpoints that are not better; the best outlives its checkpoint.
    let (report, best, best_dir) = run([3.0, 1.0, 1.0, 2.0, 0.0, 0.0], Resume::Never, 2);
    let report = report.unwrap();
    assert!(report.stopped && report.steps == 8, "{report:?}");
    assert_eq!(
        best,
        Some(BestCheckpoint {
            step: 4,
            value: 1.0
        })
    );
    // A run that is ended early keeps one more: its last may be a bad one.
    let expected = ["best-4", "best.json", "checkpoint-6", "checkpoint-8"];
    assert_eq!(names(), expected);
    assert_ne!(
        adapter(&best_dir.unwrap()),
        adapter(&dir.path().join("checkpoint-8"))
    );

    // A run that continues remembers it, and how long it has not got better.
    let (report, _, _) = run([0.0; 6], Resume::Latest, 2);
    assert_eq!(report.unwrap().steps, 8);
    let (report, best, _) = run([0.0, 0.0, 0.0, 0.0, 1.5, 0.5], Resume::Latest, 4);
    assert!(!report.unwrap().stopped);
    assert_eq!(
        best,
        Some(BestCheckpoint {
            step: 12,
            value: 0.5
        })
    );
    assert_eq!(names(), ["best-12", "best.json", "checkpoint-12"]);
    assert_eq!(
        adapter(&dir.path().join("best-12")),
        adapter(&dir.path().join("checkpoint-12"))
    );

    // A run from the start does not take its place.
    std::fs::remove_dir_all(dir.path().join("checkpoint-12")).unwrap();
    let (report, _, _) = run([0.0; 6], Resume::Never, 2);
    let TrainError::Callback { step: 0, source } = report.unwrap_err() else {
        panic!("not the callback's");
    };
    assert!(source.to_string().contains("an earlier run"), "{source}");
    assert_eq!(names(), ["best-12", "best.json"]);
}

/// A run that is refused has changed nothing, and a best adapter that is gone is made again.
#[test]
fn what_an_earlier_run_kept_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let metrics_path = dir.path().join("metrics.jsonl");
    let run = |run: &str, resume: Resume, name: &str, values: [f64; 3]| {
        let metric = move |step: usize, _: &Path| Ok(values[step / 2 - 1]);
        let mut best = KeepBest::lowest(dir.path().join("best"), metric).with_name(name);
        let report = Trainer::new(config(), lora())
            .unwrap()
            .with_output_dir(dir.path().join(run))
            .with_resume(resume)
            .train(
                &mut adapted_decoder(&lora()),
                &random_examples(11),
                &mut [
                    &mut JsonlMetrics::new(&metrics_path),
                    &mut TensorBoard::new(dir.path().join("events")),
                    &mut best,
                ],
            );
        (report, best.best().map(|best| best.step), best.best_dir())
    };
    let num_events = || {
        std::fs::read_dir(dir.path().join("events"))
            .unwrap()
            .count()
    };
    let (report, best, _) = run("1", Resume::Never, "loss", [3.0, 2.0, 1.0]);
    assert!(!report.unwrap().stopped);
    assert_eq!(best, Some(6));
    let metrics = std::fs::read(&metrics_path).unwrap();
    // Elsewhere, but with the same files beside it; and with another metric in the same folder.
    for (name, message) in [
        ("loss", "an earlier run"),
        ("score", "of the metric `loss`"),
    ] {
        let (report, ..) = run("2", Resume::Never, name, [0.0; 3]);
        let TrainError::Callback { step: 0, source } = report.unwrap_err() else {
            panic!("not the callback's");
        };
        assert!(source.to_string().contains(message), "{source}");
        assert_eq!(std::fs::read(&metrics_path).unwrap(), metrics);
        assert_eq!(num_events(), 1);
    }

    // It goes on from an older checkpoint, whose adapter was the best then and is gone.
    for step in [4, 6] {
        std::fs::remove_dir_all(dir.path().join(format!("1/checkpoint-{step}"))).unwrap();
    }
    let (report, best, best_dir) = run("1", Resume::Latest, "loss", [3.0, 5.0, 4.0]);
    assert_eq!(report.unwrap().steps, 6);
    assert_eq!(best, Some(2));
    assert!(best_dir.unwrap().join("adapter_config.json").is_file());
    let names = std::fs::read_dir(dir.path().join("best")).unwrap();
    assert_eq!(names.count(), 2, "the best adapter and what was measured");
}

/// A callback's patience may be all that ends a run.
#[test]
fn a_run_without_an_end_begins() {
    struct Once;
    impl Callback for Once {
        fn on_step(&mut self, _: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            Ok(ControlFlow::Break(()))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        max_steps: Some(usize::MAX),
        lr_scheduler_type: LrSchedulerType::Constant,
        warmup_ratio: 0.0,
        ..config()
    };
    let report = Trainer::new(config, lora())
        .unwrap()
        .with_output_dir(dir.path())
        .train(
            &mut adapted_decoder(&lora()),
            &random_examples(11),
            &mut [&mut Once],
        )
        .unwrap();
    assert!(report.stopped && report.steps == 1);
}

#[test]
fn a_metric_must_be_finite_and_other_peoples_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let best_dir = dir.path().join("best");
    std::fs::create_dir_all(best_dir.join("best-7")).unwrap();
    std::fs::write(best_dir.join("best-7/notes.txt"), "mine").unwrap();
    let trainer = Trainer::new(config(), lora()).unwrap();
    let trainer = trainer.with_output_dir(dir.path());
    let values = [9.0, f64::INFINITY, 0.0];
    let metric = |step: usize, _: &Path| Ok(values[step / 2 - 1]);
    let mut best = KeepBest::lowest(&best_dir, metric);
    let mut decoder = adapted_decoder(&lora());
    let report = trainer.train(&mut decoder, &random_examples(11), &mut [&mut best]);
    assert_eq!(
        report.unwrap_err().to_string(),
        "a callback failed at step 4"
    );
    let expected = BestCheckpoint {
        step: 2,
        value: 9.0,
    };
    assert_eq!(best.best(), Some(expected));
    let notes = std::fs::read_to_string(best_dir.join("best-7/notes.txt")).unwrap();
    assert_eq!(notes, "mine");
}

/// Over all targets, of the adapter in a checkpoint; the decoder that is trained is left alone.
#[test]
fn the_held_out_loss_is_that_of_the_trainer() {
    let dir = tempfile::tempdir().unwrap();
    let held_out = random_examples(7);
    let mut decoder = adapted_decoder(&lora());
    let mut loss = HeldOutLoss::new(&decoder, held_out.clone()).unwrap();
    let trainer = Trainer::new(config(), lora()).unwrap();
    let trainer = trainer.with_output_dir(dir.path());
    trainer
        .train(&mut decoder, &random_examples(11), &mut [])
        .unwrap();
    let checkpoint = dir.path().join("checkpoint-6");
    let got = loss.of(&checkpoint).unwrap();
    let passes = [held_out.iter().collect::<Vec<_>>()];
    let config = LossConfig::default();
    let expected = loss_gradients(&mut decoder, &lora(), &passes, config, |_| None).unwrap();
    assert!(
        (got - expected.loss).abs() < 1e-5,
        "{got} {}",
        expected.loss
    );
    assert!(loss.of(dir.path()).is_err());
    assert!(matches!(
        HeldOutLoss::new(&decoder, Vec::new()),
        Err(TrainError::NoExamples)
    ));
}

/// Marks beyond the tokens, or none, are no targets; what is alone and what is in a batch is the same.
#[test]
fn scoring_counts_marked_tokens_and_names_what_fails() {
    let mut decoder = adapted_decoder(&lora());
    let (long, short): (Vec<u32>, Vec<u32>) = ((0..9).collect(), vec![5]);
    let marks = [true; 12];
    let sequences = [
        (&short[..], &marks[..]),
        (&long[..], &marks[..]),
        (&long[..], &marks[..4]),
        (&long[..], &[][..]),
    ];
    let scores = decoder.target_nll(&sequences).unwrap();
    let counts: Vec<usize> = scores.iter().map(|score| score.1).collect();
    assert_eq!(counts, [0, 8, 3, 0]);
    for (sequence, score) in sequences.iter().zip(&scores) {
        assert_eq!(decoder.target_nll(&[*sequence]).unwrap(), [*score]);
    }
    assert!(scores[1].0 > scores[2].0 && scores[2].0 > 0.0);

    let factors = AdapterFactors::of(&decoder).into_tensors();
    let poisoned: Vec<_> = factors.into_iter().map(|t| t * f32::MAX).collect();
    replace(&mut decoder, poisoned).unwrap();
    let error = decoder.target_nll(&sequences[..2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model produced a non-finite log-likelihood for input 1"
    );
    let too_long = [1; 33];
    let error = decoder.target_nll(&[(&too_long, &marks)]).unwrap_err();
    assert_eq!(error.to_string(), "input 0 has 33 tokens, the limit is 32");
}

#[test]
fn events_are_written_for_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        kl_coef: 0.1,
        ..config()
    };
    for resume in [Resume::Never, Resume::Latest] {
        let trainer = Trainer::new(config.clone(), lora())
            .unwrap()
            .with_output_dir(dir.path().join("run"))
            .with_resume(resume);
        let mut events = TensorBoard::new(dir.path().join("events"));
        let examples = random_examples(11);
        let mut decoder = adapted_decoder(&lora());
        trainer
            .train(&mut decoder, &examples, &mut [&mut events])
            .unwrap();
        // The second start has two steps left.
        let _ = std::fs::remove_dir_all(dir.path().join("run/checkpoint-6"));
    }
    let mut files: Vec<_> = std::fs::read_dir(dir.path().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let count = |path: &Path, tag: &str| {
        let bytes = std::fs::read(path).unwrap();
        let windows = bytes.windows(tag.len());
        windows.filter(|window| *window == tag.as_bytes()).count()
    };
    // There is no replay in one of the steps.
    let expected = [
        ("train/loss", [6, 2]),
        ("train/kl", [5, 2]),
        ("replay/target_token_share", [6, 2]),
    ];
    for (tag, expected) in expected {
        let counts: Vec<usize> = files.iter().map(|path| count(path, tag)).collect();
        assert_eq!(counts, expected, "{tag}");
    }
}

/// Each measurement has one line, wherever a run was killed.
#[test]
fn what_is_measured_is_told_to_all() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);
    impl Progress for Notes {
        fn start(&self, _task: &str, _total: usize) {}
        fn advance(&self, _units: usize) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
        fn finish(&self) {}
    }

    let dir = tempfile::tempdir().unwrap();
    let metrics_path = dir.path().join("metrics.jsonl");
    let run = |resume: Resume| {
        let notes = Notes::default();
        let trainer = Trainer::new(config(), lora())
            .unwrap()
            .with_output_dir(dir.path())
            .with_resume(resume);
        let metric = |step: usize, _: &Path| Ok(step as f64 / 4.0);
        let mut best = KeepBest::highest(dir.path().join("best"), metric).with_name("score");
        let report = trainer.train(
            &mut adapted_decoder(&lora()),
            &random_examples(11),
            &mut [
                &mut ShowProgress::new(&notes, "train"),
                &mut JsonlMetrics::new(&metrics_path),
                &mut TensorBoard::new(dir.path().join("events")),
                &mut best,
            ],
        );
        assert_eq!(report.unwrap().steps, 6);
        notes.0.into_inner().unwrap()
    };
    // What a line says was measured, if it is such a line.
    let lines = || -> Vec<(u64, Option<f64>)> {
        let text = std::fs::read_to_string(&metrics_path).unwrap();
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["loss"].is_number() || line["eval_score"].is_number());
            (line["step"].as_u64().unwrap(), line["eval_score"].as_f64())
        });
        lines.collect()
    };
    let expected = [
        (1, None),
        (2, None),
        (2, Some(0.5)),
        (3, None),
        (4, None),
        (4, Some(1.0)),
        (5, None),
        (6, None),
        (6, Some(1.5)),
    ];

    let notes = run(Resume::Never);
    assert_eq!(lines(), expected);
    assert!(!notes[1].contains("eval"), "{}", notes[1]);
    assert!(
        notes[2].ends_with("tokens/s, eval score 0.500"),
        "{}",
        notes[2]
    );

    // Killed before the last checkpoint; then also before the line of the one before was written.
    for is_written in [true, false] {
        std::fs::remove_dir_all(dir.path().join("checkpoint-6")).unwrap();
        if !is_written {
            let text = std::fs::read_to_string(&metrics_path).unwrap();
            let cut = text.find("{\"step\":4,\"eval").unwrap();
            std::fs::write(&metrics_path, &text[..cut + 12]).unwrap();
        }
        let notes = run(Resume::Latest);
        assert_eq!(lines(), expected);
        assert!(notes[0].ends_with("eval score 1.000"), "{}", notes[0]);
    }

    let files = std::fs::read_dir(dir.path().join("events")).unwrap();
    let bytes: Vec<Vec<u8>> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    let is_in = |bytes: &Vec<u8>| bytes.windows(10).any(|window| window == b"eval/score");
    assert!(bytes.len() == 3 && bytes.iter().all(is_in));
}
