//! What a run leaves in its directory, and how another goes on with it.

use std::ops::ControlFlow;
use std::path::Path;

use grsap_model::Decoder;

use super::{config, lora, train};
use crate::adapter::{AdapterFactors, LoraConfig, replace};
use crate::example::SftExample;
use crate::tiny_decoder::{adapted_decoder, bits, random_examples, tiny_decoder};
use crate::train::*;

#[test]
fn what_a_kill_left_undeleted_goes_when_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        save_total_limit: Some(1),
        ..config()
    };
    train(config.clone(), dir.path(), Resume::Never);
    let (step, newest) = latest_checkpoint(dir.path()).unwrap().unwrap();
    let old = dir.path().join(format!("checkpoint-{}", step - 2));
    std::fs::create_dir(&old).unwrap();
    train(config, dir.path(), Resume::Latest);
    assert!(newest.exists() && !old.exists());
}

#[test]
fn a_continued_run_is_bit_identical() {
    struct StopAt(usize);
    impl Callback for StopAt {
        fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            Ok(match report.step == self.0 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        }
    }

    let whole_dir = tempfile::tempdir().unwrap();
    let (whole, whole_report) = train(config(), whole_dir.path(), Resume::Never);
    assert_eq!(whole_report.steps, 6);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let checkpoint = whole_dir.path().join("checkpoint-6");
        let files = std::fs::read_dir(checkpoint).unwrap().map(|file| {
            let file = file.unwrap();
            file.metadata().unwrap().permissions().mode()
        });
        let modes: std::collections::BTreeSet<u32> = files.collect();
        assert_eq!(modes.len(), 1, "others can read some files only: {modes:?}");
    }

    let dir = tempfile::tempdir().unwrap();
    let mut decoder = adapted_decoder(&lora());
    let trainer = Trainer::new(config(), lora())
        .unwrap()
        .with_output_dir(dir.path());
    let report = trainer
        .train(&mut decoder, &random_examples(11), &mut [&mut StopAt(5)])
        .unwrap();
    assert!(report.stopped);
    assert_eq!(report.steps, 5);
    // Where a run is ended it can go on.
    assert_eq!(latest_checkpoint(dir.path()).unwrap().unwrap().0, 5);

    let (continued, report) = train(config(), dir.path(), Resume::Latest);
    assert_eq!(bits(&continued), bits(&whole));
    assert_eq!(report.losses, whole_report.losses);
    assert_eq!(report.num_tokens, whole_report.num_tokens);
    assert!(!report.stopped);
    // A finished run is not run again.
    let (again, report) = train(config(), dir.path(), Resume::Latest);
    assert_eq!(bits(&again), bits(&whole));
    assert_eq!(report.losses, whole_report.losses);
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_the_field() {
    let dir = tempfile::tempdir().unwrap();
    train(config(), dir.path(), Resume::Never);
    let resume = |config, lora: LoraConfig, examples: &[SftExample], decoder: &mut Decoder| {
        let before = bits(decoder);
        let error = Trainer::new(config, lora)
            .unwrap()
            .with_output_dir(dir.path())
            .with_resume(Resume::Latest)
            .train(decoder, examples, &mut [])
            .unwrap_err();
        assert_eq!(bits(decoder), before);
        match error {
            TrainError::Checkpoint(CheckpointError::Mismatch { field, .. }) => field,
            other => panic!("{other}"),
        }
    };
    let mut decoder = adapted_decoder(&lora());
    let examples = random_examples(11);
    let warmer = TrainerConfig {
        learning_rate: 2e-2,
        ..config()
    };
    assert_eq!(
        resume(warmer, lora(), &examples, &mut decoder),
        "config.learning_rate"
    );
    let dry = LoraConfig {
        lora_dropout: 0.2,
        ..lora()
    };
    assert_eq!(
        resume(config(), dry, &examples, &mut decoder),
        "lora.lora_dropout"
    );
    let mut other = examples.clone();
    other.swap(0, 1);
    assert_eq!(
        resume(config(), lora(), &other, &mut decoder),
        "data_sha256"
    );
    let mut other = tiny_decoder();
    crate::attach(&mut other, &lora(), 9).unwrap();
    assert_eq!(
        resume(config(), lora(), &examples, &mut other),
        "initial_parameters_sha256"
    );
    let mut other = adapted_decoder(&lora());
    crate::merge(&mut other);
    let factors = AdapterFactors::of(&decoder).into_tensors();
    crate::attach(&mut other, &lora(), 0).unwrap();
    replace(&mut other, factors).unwrap();
    assert_eq!(
        resume(config(), lora(), &examples, &mut other),
        "base_model_sha256"
    );
    // When to save may change.
    let rarer = TrainerConfig {
        save_steps: Some(3),
        save_total_limit: Some(1),
        ..config()
    };
    train(rarer, dir.path(), Resume::Latest);
}

fn checkpoint_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

#[test]
fn old_checkpoints_go_and_half_written_ones_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        save_steps: Some(1),
        save_total_limit: Some(2),
        ..config()
    };
    let (whole, _) = train(config.clone(), dir.path(), Resume::Never);
    assert_eq!(
        checkpoint_names(dir.path()),
        ["checkpoint-5", "checkpoint-6"]
    );

    // A kill while deleting, while copying, and while writing.
    std::fs::remove_file(dir.path().join("checkpoint-6/optimizer.safetensors")).unwrap();
    std::fs::create_dir(dir.path().join("checkpoint-9")).unwrap();
    std::fs::create_dir(dir.path().join(".checkpoint-half")).unwrap();
    assert_eq!(latest_checkpoint(dir.path()).unwrap().unwrap().0, 5);
    std::fs::remove_dir(dir.path().join("checkpoint-9")).unwrap();
    let (continued, _) = train(config, dir.path(), Resume::Latest);
    assert_eq!(bits(&continued), bits(&whole));
    assert_eq!(
        checkpoint_names(dir.path()),
        ["checkpoint-5", "checkpoint-6"]
    );
}

#[test]
fn a_damaged_checkpoint_is_an_error_that_names_the_file() {
    for (name, content) in [
        ("trainer_state.json", "{"),
        ("optimizer.safetensors", "cut"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        train(config(), dir.path(), Resume::Never);
        std::fs::write(dir.path().join("checkpoint-6").join(name), content).unwrap();
        let mut decoder = adapted_decoder(&lora());
        let error = Trainer::new(config(), lora())
            .unwrap()
            .with_output_dir(dir.path())
            .with_resume(Resume::Latest)
            .train(&mut decoder, &random_examples(11), &mut [])
            .unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn without_checkpoints_resuming_begins_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (fresh, _) = train(config(), &dir.path().join("a"), Resume::Never);
    let (resumed, _) = train(config(), &dir.path().join("b"), Resume::Latest);
    assert_eq!(bits(&fresh), bits(&resumed));
}

#[test]
fn a_run_that_diverges_keeps_its_last_good_checkpoint() {
    /// Finite for four steps, then so large that the factors overflow.
    struct Jump;
    impl LrSchedule for Jump {
        fn lr(&self, step: usize) -> f64 {
            if step < 4 { 1e-3 } else { 1e30 }
        }
    }
    for (save_steps, save_total_limit) in [(2, None), (1, Some(1))] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainerConfig {
            num_train_epochs: 4,
            save_steps: Some(save_steps),
            save_total_limit,
            ..config()
        };
        let mut decoder = adapted_decoder(&lora());
        let error = Trainer::new(config, lora())
            .unwrap()
            .with_output_dir(dir.path())
            .train_with(&mut decoder, &random_examples(11), &Jump, &mut [])
            .unwrap_err();
        let TrainError::NonFinite { step, examples, .. } = &error else {
            panic!("{error}");
        };
        assert!(*step > 4 && !examples.is_empty(), "{error}");
        // With a checkpoint for every step, the first bad weights have one too.
        assert!(checkpoint_names(dir.path()).contains(&"checkpoint-4".to_owned()));
        let mut good = tiny_decoder();
        crate::load_adapter(&mut good, dir.path().join("checkpoint-4")).unwrap();
        assert!(
            bits(&good)
                .iter()
                .all(|bits| f32::from_bits(*bits).is_finite())
        );
    }
}

#[test]
fn weights_that_are_not_finite_make_no_checkpoint() {
    /// Finite for three steps, then infinite weights.
    struct Jump;
    impl LrSchedule for Jump {
        fn lr(&self, step: usize) -> f64 {
            if step < 3 { 1e-3 } else { 1e39 }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        save_steps: Some(1),
        save_total_limit: Some(1),
        ..config()
    };
    let error = Trainer::new(config, lora())
        .unwrap()
        .with_output_dir(dir.path())
        .train_with(
            &mut adapted_decoder(&lora()),
            &random_examples(11),
            &Jump,
            &mut [],
        )
        .unwrap_err();
    let TrainError::Checkpoint(CheckpointError::NonFinite { tensor }) = &error else {
        panic!("{error}");
    };
    assert!(tensor.contains("lora_"), "{tensor}");
    assert_eq!(checkpoint_names(dir.path()), ["checkpoint-3"]);
}

/// A run from the start would replace them.
#[test]
fn a_run_does_not_begin_where_there_are_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    train(config(), dir.path(), Resume::Never);
    let mut decoder = adapted_decoder(&lora());
    let start = bits(&decoder);
    let trainer = Trainer::new(config(), lora()).unwrap();
    let trainer = trainer.with_output_dir(dir.path());
    let mut metrics = JsonlMetrics::new(dir.path().join("metrics.jsonl"));
    std::fs::write(dir.path().join("metrics.jsonl"), "{\"step\": 1}\n").unwrap();
    let before = checkpoint_names(dir.path());
    let error = trainer
        .train(&mut decoder, &random_examples(11), &mut [&mut metrics])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("checkpoint-6 is of an earlier run")
            && error.to_string().contains("Resume::Latest"),
        "{error}"
    );
    assert_eq!(checkpoint_names(dir.path()), before);
    assert_eq!(bits(&decoder), start);
    let metrics = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics, "{\"step\": 1}\n");
}

#[test]
fn a_run_has_its_directory_to_itself() {
    struct Second<'a>(&'a Path);
    impl Callback for Second<'_> {
        fn on_step(&mut self, _: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            let trainer = Trainer::new(config(), lora())?.with_output_dir(self.0);
            let examples = random_examples(2);
            trainer.train(&mut adapted_decoder(&lora()), &examples, &mut [])?;
            Ok(ControlFlow::Continue(()))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(config(), lora()).unwrap();
    let error = trainer.with_output_dir(dir.path()).train(
        &mut adapted_decoder(&lora()),
        &random_examples(11),
        &mut [&mut Second(dir.path())],
    );
    let TrainError::Callback { source, .. } = error.unwrap_err() else {
        panic!("another error");
    };
    assert!(source.to_string().contains("another run"), "{source}");
}

#[test]
fn without_save_steps_the_end_of_a_run_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = TrainerConfig {
        save_steps: None,
        ..config()
    };
    train(quiet, dir.path(), Resume::Never);
    assert_eq!(checkpoint_names(dir.path()), ["checkpoint-6"]);
}
