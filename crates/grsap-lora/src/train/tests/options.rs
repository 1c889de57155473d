//! What is off by default: passes by tokens, the running average, the divergence; and what steps
//! report.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{DType, Device, Int, Tensor};
use grsap_model::{Decoder, DecoderInput, Parameter};

use super::{config, lora, relative_error, values};
use crate::adapter::LoraConfig;
use crate::example::SftExample;
use crate::tiny_decoder::{adapted_decoder, bits, random_examples, tiny_decoder, tiny_lora};
use crate::train::*;

#[test]
fn passes_filled_by_tokens_give_the_same_step() {
    let dry = || LoraConfig {
        lora_dropout: 0.0,
        ..lora()
    };
    let run = |max_tokens_per_pass| {
        let mut decoder = adapted_decoder(&dry());
        let config = TrainerConfig {
            max_tokens_per_pass,
            save_steps: None,
            ..config()
        };
        let trainer = Trainer::new(config, dry()).unwrap();
        let report = trainer.train(&mut decoder, &random_examples(11), &mut []);
        report.map(|report| report.losses)
    };
    let chunks = run(None).unwrap();
    let packed = run(Some(20)).unwrap();
    for (a, b) in chunks.iter().zip(&packed) {
        assert!((a - b).abs() < 1e-5, "{chunks:?} {packed:?}");
    }
    let error = run(Some(5)).unwrap_err().to_string();
    assert!(error.starts_with("max_tokens_per_pass: is 5"), "{error}");
}

#[test]
fn devices_that_compute_alike_change_no_bit() {
    let run = |others: usize, kl_coef: f64, gradient_checkpointing: bool| {
        let mut decoder = adapted_decoder(&lora());
        let config = TrainerConfig {
            // Three passes in a step, two in the last one of an epoch.
            gradient_accumulation_steps: 3,
            gradient_checkpointing,
            kl_coef,
            save_steps: None,
            ..config()
        };
        let trainer = Trainer::new(config, lora()).unwrap();
        let trainer = trainer.with_further_devices(vec![Device::flex(); others]);
        let examples: Vec<_> = random_examples(11)
            .into_iter()
            .enumerate()
            .map(|(i, e)| e.with_group(if i % 2 == 0 { "replay" } else { "task" }))
            .collect();
        let report = trainer.train(&mut decoder, &examples, &mut []).unwrap();
        (bits(&decoder), report.losses)
    };
    for (kl_coef, checkpointing) in [(0.0, false), (0.3, true)] {
        let alone = run(0, kl_coef, checkpointing);
        for others in [1, 2, 5] {
            assert_eq!(run(others, kl_coef, checkpointing), alone, "{others} more");
        }
    }
}

/// The model to stay near to is the one that the run began with, on every device.
#[test]
fn a_run_goes_on_with_more_devices_to_the_same_bits() {
    let run = |dir: &Path, others: usize, resume: Resume, is_cut: bool| {
        struct Cut(bool);
        impl Callback for Cut {
            fn on_checkpoint(&mut self, _: usize, _: &Path) -> Result<ControlFlow<()>, BoxError> {
                Ok(match self.0 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            }
        }
        let mut decoder = adapted_decoder(&lora());
        let config = TrainerConfig {
            kl_coef: 0.3,
            ..config()
        };
        let trainer = Trainer::new(config, lora())
            .unwrap()
            .with_further_devices(vec![Device::flex(); others])
            .with_output_dir(dir)
            .with_resume(resume);
        trainer
            .train(&mut decoder, &random_examples(11), &mut [&mut Cut(is_cut)])
            .unwrap();
        bits(&decoder)
    };
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let whole = run(dirs[0].path(), 0, Resume::Never, false);
    run(dirs[1].path(), 1, Resume::Never, true);
    assert_eq!(latest_checkpoint(dirs[1].path()).unwrap().unwrap().0, 2);
    assert_eq!(run(dirs[1].path(), 2, Resume::Latest, false), whole);
}

#[test]
fn all_devices_train_all_weights() {
    let run = |others: usize| {
        let mut decoder = tiny_decoder();
        let trainer = Trainer::new(
            TrainerConfig {
                save_steps: None,
                ..config()
            },
            FullFineTuning::default(),
        )
        .unwrap()
        .with_further_devices(vec![Device::flex(); others]);
        let report = trainer.train(&mut decoder, &random_examples(11), &mut []);
        report.unwrap().losses
    };
    assert_eq!(run(1), run(0));
}

/// The examples of an error are counted through the passes of all devices.
#[test]
fn a_loss_that_is_not_finite_on_another_device_is_named() {
    let mut decoder = adapted_decoder(&lora());
    let mut factors = crate::AdapterFactors::of(&decoder).into_tensors();
    factors[0] = factors[0].clone() * f32::NAN;
    crate::adapter::replace(&mut decoder, factors).unwrap();
    let config = TrainerConfig {
        save_steps: None,
        shuffle: false,
        ..config()
    };
    let trainer = Trainer::new(config, lora()).unwrap();
    let trainer = trainer.with_further_devices([Device::flex()]);
    let error = trainer.train(&mut decoder, &random_examples(11), &mut []);
    let TrainError::NonFinite { examples, .. } = error.unwrap_err() else {
        panic!("another error");
    };
    let indices: Vec<usize> = examples.iter().map(|e| e.index).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
}

#[test]
fn the_average_follows_the_weights_and_ends_on_the_decoder() {
    struct Weights(Vec<Vec<f32>>);
    impl Callback for Weights {
        fn on_checkpoint(&mut self, _: usize, dir: &Path) -> Result<ControlFlow<()>, BoxError> {
            let mut decoder = tiny_decoder();
            crate::load_adapter(&mut decoder, dir)?;
            let factors = bits(&decoder).into_iter().map(f32::from_bits);
            self.0.push(factors.collect());
            Ok(ControlFlow::Continue(()))
        }
    }
    let run = |ema_decay| {
        let dir = tempfile::tempdir().unwrap();
        let mut decoder = adapted_decoder(&lora());
        let config = TrainerConfig {
            ema_decay,
            save_steps: Some(1),
            ..config()
        };
        let mut weights = Weights(Vec::new());
        let trainer = Trainer::new(config, lora()).unwrap();
        trainer
            .with_output_dir(dir.path())
            .train(&mut decoder, &random_examples(11), &mut [&mut weights])
            .unwrap();
        (weights.0, bits(&decoder))
    };
    let start = bits(&adapted_decoder(&lora()));
    let (plain, _) = run(None);
    let (averages, last) = run(Some(0.75));
    let mut expected: Vec<f32> = start.into_iter().map(f32::from_bits).collect();
    for (plain, average) in plain.iter().zip(&averages) {
        for ((expected, now), got) in expected.iter_mut().zip(plain).zip(average) {
            *expected = 0.75 * *expected + 0.25 * now;
            assert!((*expected - got).abs() < 1e-6);
        }
    }
    let at_end: Vec<u32> = averages[5].iter().map(|x| x.to_bits()).collect();
    assert_eq!(last, at_end);
}

#[test]
fn a_divergence_term_holds_replay_near_the_start() {
    let run = |kl_coef: f64, gradient_checkpointing: bool| {
        let mut decoder = tiny_decoder();
        crate::attach(&mut decoder, &tiny_lora(), 1).unwrap();
        let config = TrainerConfig {
            kl_coef,
            gradient_checkpointing,
            num_train_epochs: 20,
            save_steps: None,
            ..config()
        };
        let mut steps = Divergences::default();
        let trainer = Trainer::new(config, tiny_lora()).unwrap();
        trainer
            .train(&mut decoder, &random_examples(11), &mut [&mut steps])
            .unwrap();
        (steps.0, bits(&decoder))
    };
    #[derive(Default)]
    struct Divergences(Vec<Option<f64>>);
    impl Callback for Divergences {
        fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            self.0.push(report.kl);
            Ok(ControlFlow::Continue(()))
        }
    }
    assert!(run(0.0, false).0.iter().all(Option::is_none));
    let (weak, _) = run(1e-6, false);
    let (strong, whole) = run(5.0, false);
    // A fresh adapter predicts what the base model does.
    assert!(weak[0].unwrap().abs() < 1e-6);
    let mean = |steps: &[Option<f64>]| steps[30..].iter().flatten().sum::<f64>();
    assert!(mean(&strong) < 0.3 * mean(&weak), "{weak:?} {strong:?}");
    assert_eq!(run(5.0, true), (strong, whole));
}

#[test]
fn examples_and_targets_of_a_group_are_reported_in_every_step() {
    struct Shares(usize);
    impl Callback for Shares {
        fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            let (task, replay) = (report.example_share("task"), report.example_share("replay"));
            assert!((task + replay - 1.0).abs() < 1e-12);
            assert_eq!(
                report.num_examples,
                if report.step.is_multiple_of(3) { 3 } else { 4 }
            );
            let tokens = |group| report.target_token_share(group);
            assert!((tokens("task") + tokens("replay") - 1.0).abs() < 1e-12);
            assert_eq!(report.examples_by_group.len(), 2);
            self.0 += report.examples_by_group["task"];
            Ok(ControlFlow::Continue(()))
        }
    }
    let mut shares = Shares(0);
    let config = TrainerConfig {
        save_steps: None,
        seed: 2,
        ..config()
    };
    let trainer = Trainer::new(config, lora()).unwrap();
    let report = trainer
        .train(
            &mut adapted_decoder(&lora()),
            &random_examples(11),
            &mut [&mut shares],
        )
        .unwrap();
    assert_eq!(shares.0, report.examples_by_group["task"]);
    assert_eq!(report.num_examples, 22);
    assert_eq!(report.example_share("replay"), 4.0 / 11.0);
}

#[test]
fn all_weights_are_not_trained_under_an_adapter() {
    let config = TrainerConfig {
        save_steps: None,
        ..config()
    };
    let trainer = Trainer::new(config, FullFineTuning::default()).unwrap();
    let error = trainer
        .train(&mut adapted_decoder(&lora()), &random_examples(2), &mut [])
        .unwrap_err();
    assert!(error.to_string().contains("q_proj"), "{error}");
}

/// On GPUs what is between the layers has the type of the weights, here as well: a tensor of another
/// type among them would be an error of the CPU, and garbage on a GPU.
#[test]
fn a_base_of_half_numbers_trains_with_every_option() {
    let half = |decoder: &mut Decoder, with_table: bool| {
        let values = decoder.parameters().into_iter().map(|(name, value)| {
            let is_table = name.contains("embed_tokens");
            match value {
                Parameter::Matrix(value) if with_table || !is_table => {
                    Parameter::Matrix(value.cast(DType::BF16))
                }
                other => other,
            }
        });
        let values: Vec<Parameter> = values.collect();
        decoder.set_parameters(values).unwrap();
    };
    let run = |change: &dyn Fn(&mut Decoder), gradient_checkpointing: bool| {
        let mut decoder = adapted_decoder(&lora());
        change(&mut decoder);
        let config = TrainerConfig {
            kl_coef: 0.5,
            ema_decay: Some(0.5),
            gradient_checkpointing,
            save_steps: None,
            ..config()
        };
        let trainer = Trainer::new(config, lora()).unwrap();
        let report = trainer.train(&mut decoder, &random_examples(11), &mut []);
        report.unwrap().losses
    };
    let exact = run(&|_| (), false);
    for with_table in [true, false] {
        for checkpointing in [false, true] {
            let losses = run(&|decoder| half(decoder, with_table), checkpointing);
            for (half, exact) in losses.iter().zip(&exact) {
                assert!((half - exact).abs() < 2e-2, "{losses:?} {exact:?}");
            }
        }
    }
    // All weights are trained in f32, whatever they were.
    let mut decoder = tiny_decoder();
    half(&mut decoder, true);
    let quiet = TrainerConfig {
        save_steps: None,
        ..config()
    };
    let trainer = Trainer::new(quiet, FullFineTuning::default()).unwrap();
    trainer
        .train(&mut decoder, &random_examples(11), &mut [])
        .unwrap();
    for (name, parameter) in decoder.parameters() {
        assert_eq!(parameter.to_matrix().dtype(), DType::F32, "{name}");
    }
}

/// The head of a decoder, and nothing else.
struct Head;

impl Trainable for Head {
    fn kind(&self) -> &'static str {
        "head"
    }
    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn validate(&self) -> Result<(), TrainError> {
        Ok(())
    }
    fn prepare(&self, _: &mut Decoder) -> Result<(), TrainError> {
        Ok(())
    }
    fn parameters(&self, decoder: &Decoder) -> Vec<(String, Parameter)> {
        let mut all = decoder.parameters();
        all.retain(|(name, _)| name == "lm_head.weight");
        all
    }
    fn set_parameters(&self, decoder: &mut Decoder, new: Vec<Parameter>) -> Result<(), TrainError> {
        let mut new = new.into_iter();
        let all = decoder.parameters().into_iter();
        let all: Vec<Parameter> = all
            .map(|(name, old)| match name.as_str() {
                "lm_head.weight" => new.next().unwrap(),
                _ => old,
            })
            .collect();
        Ok(decoder.set_parameters(all)?)
    }
    fn starting_model(&self, decoder: &Decoder) -> Decoder {
        decoder.clone()
    }
    fn dropout(&self) -> f64 {
        0.0
    }
    fn save(&self, _: &Decoder, _: Option<&str>, _: &Path) -> Result<(), CheckpointError> {
        Ok(())
    }
}

/// In tests the logits of three rows are in memory at once; here those of all.
#[test]
fn gradients_of_a_trained_head_do_not_depend_on_the_chunks() {
    let examples = random_examples(5);
    let all = FullFineTuning::default();
    let trainables: [&dyn Trainable; 2] = [&all, &Head];
    for trainable in trainables {
        let mut decoder = tiny_decoder();
        decoder.unfreeze();
        let leaves = trainable.parameters(&decoder).into_iter();
        let leaves: Vec<Parameter> = leaves
            .map(|(_, parameter)| match parameter {
                Parameter::Matrix(t) => Parameter::Matrix(t.autodiff().require_grad()),
                Parameter::Vector(t) => Parameter::Vector(t.autodiff().require_grad()),
            })
            .collect();
        let mut tracked = decoder.clone();
        trainable
            .set_parameters(&mut tracked, leaves.clone())
            .unwrap();
        let input = DecoderInput::packed(examples.iter().map(SftExample::input_ids));
        let hidden = tracked.hidden_states(&input, None).unwrap();
        let (mut rows, mut ids, mut start) = (Vec::new(), Vec::new(), 0);
        for example in &examples {
            let targets: Vec<_> = example.targets().collect();
            rows.extend(targets.iter().map(|(at, _)| (start + at - 1) as i32));
            ids.extend(targets.iter().map(|(_, id)| *id));
            start += example.input_ids().len();
        }
        assert!(rows.len() > 6);
        let rows = Tensor::<1, Int>::from_ints(rows.as_slice(), &Device::flex());
        let loss = tracked.nll(hidden.select(0, rows), &ids).unwrap().mean();
        let grads = loss.clone().backward();
        let want: Vec<Tensor<2>> = leaves
            .iter()
            .map(|leaf| match leaf {
                Parameter::Matrix(t) => t.grad(&grads).unwrap(),
                Parameter::Vector(t) => t.grad(&grads).unwrap().unsqueeze(),
            })
            .collect();
        let loss = f64::from(loss.into_scalar::<f32>());
        for gradient_checkpointing in [false, true] {
            let config = LossConfig {
                gradient_checkpointing,
                ..LossConfig::default()
            };
            let batch = [examples.iter().collect()];
            let got = loss_gradients(&mut decoder, trainable, &batch, config, |_| None).unwrap();
            assert!((got.loss - loss).abs() < 1e-6);
            assert_eq!(got.gradients.len(), want.len());
            let error = relative_error(&values(&got.gradients), &values(&want));
            assert!(error < 1e-5, "{gradient_checkpointing}: {error}");
        }
    }
    let none: [Vec<&SftExample>; 2] = [examples.iter().collect(), Vec::new()];
    let config = LossConfig::default();
    let error = loss_gradients(&mut tiny_decoder(), &all, &none, config, |_| None);
    assert!(matches!(error.unwrap_err(), TrainError::NoExamples));
}

#[test]
fn a_divergence_without_replay_is_an_error() {
    let config = TrainerConfig {
        kl_coef: 0.1,
        save_steps: None,
        ..config()
    };
    let trainer = Trainer::new(config, lora()).unwrap();
    let examples = random_examples(3).into_iter().map(|e| e.with_group("task"));
    let examples: Vec<_> = examples.collect();
    let error = trainer.train(&mut adapted_decoder(&lora()), &examples, &mut []);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("kl_coef: is set"), "{error}");
}

/// An adapter that has learnt already is what the run starts from, not the model below it.
#[test]
fn the_divergence_is_from_the_adapter_that_the_run_begins_with() {
    let config = TrainerConfig {
        kl_coef: 0.1,
        max_steps: Some(1),
        per_device_train_batch_size: 11,
        gradient_accumulation_steps: 1,
        save_steps: None,
        ..config()
    };
    struct First(f64);
    impl Callback for First {
        fn on_step(&mut self, report: &StepReport) -> Result<ControlFlow<()>, BoxError> {
            self.0 = report.kl.unwrap();
            Ok(ControlFlow::Continue(()))
        }
    }
    let mut first = First(f64::NAN);
    let dry = tiny_lora();
    let trainer = Trainer::new(config, dry.clone()).unwrap();
    let mut decoder = adapted_decoder(&dry);
    trainer
        .train(&mut decoder, &random_examples(11), &mut [&mut first])
        .unwrap();
    assert!(first.0.abs() < 1e-6, "{}", first.0);
}
