use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use grsap_kernels::Dropout;
use grsap_model::Decoder;

use super::*;
use crate::adapter::{AdapterError, AdapterFactors, LoraConfig, replace};
use crate::example::SftExample;
use crate::tiny_decoder::{VOCAB, adapted_decoder, bits, random_examples, tiny_decoder, tiny_lora};

mod callbacks;
mod checkpoints;
mod options;

/// Dropout and a tail batch, so that both are part of what must repeat.
fn lora() -> LoraConfig {
    LoraConfig {
        lora_dropout: 0.1,
        ..tiny_lora()
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        learning_rate: 1e-2,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        num_train_epochs: 2,
        save_steps: Some(2),
        ..TrainerConfig::default()
    }
}

fn train(config: TrainerConfig, dir: &Path, resume: Resume) -> (Decoder, TrainReport) {
    let mut decoder = adapted_decoder(&lora());
    let trainer = Trainer::new(config, lora())
        .unwrap()
        .with_output_dir(dir)
        .with_resume(resume);
    let report = trainer
        .train(&mut decoder, &random_examples(11), &mut [])
        .unwrap();
    (decoder, report)
}

fn gradients(
    decoder: &mut Decoder,
    examples: &[SftExample],
    size: usize,
    weighting: LossWeighting,
) -> LossGradients {
    let micro_batches: Vec<Vec<&SftExample>> = examples
        .chunks(size)
        .map(|chunk| chunk.iter().collect())
        .collect();
    let config = LossConfig {
        weighting,
        ..LossConfig::default()
    };
    loss_gradients(decoder, &tiny_lora(), &micro_batches, config, |_| None).unwrap()
}

fn values(tensors: &[Tensor<2>]) -> Vec<f32> {
    tensors
        .iter()
        .flat_map(|t| t.clone().into_data().try_into_vec::<f32>().unwrap())
        .collect()
}

fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (difference / norm(&mut b.iter().copied())).sqrt()
}

#[test]
fn one_pass_of_eight_equals_eight_passes_of_one() {
    let examples = random_examples(8);
    for weighting in [LossWeighting::PerToken, LossWeighting::PerExample] {
        let mut decoder = adapted_decoder(&tiny_lora());
        let whole = gradients(&mut decoder, &examples, 8, weighting);
        for size in [1, 3] {
            let parts = gradients(&mut decoder, &examples, size, weighting);
            assert!((whole.loss - parts.loss).abs() < 1e-6);
            let error = relative_error(&values(&parts.gradients), &values(&whole.gradients));
            assert!(error < 1e-5, "{error}");
            assert_eq!(parts.num_target_tokens, whole.num_target_tokens);
        }
    }
}

#[test]
fn gradient_checkpointing_changes_no_bit() {
    let examples = random_examples(5);
    let batches = [
        examples.iter().take(3).collect(),
        examples.iter().skip(3).collect(),
    ];
    let second_layer = LoraConfig {
        layers_to_transform: Some(vec![1]),
        ..lora()
    };
    for lora in [lora(), second_layer] {
        let mut decoder = adapted_decoder(&lora);
        let before = bits(&decoder);
        let mut run = |gradient_checkpointing| {
            let config = LossConfig {
                gradient_checkpointing,
                weighting: LossWeighting::PerExample,
                kl: None,
            };
            let dropout = |pass| {
                Some(Dropout {
                    p: 0.2,
                    seed: 7 + pass as u64,
                })
            };
            loss_gradients(&mut decoder, &lora, &batches, config, dropout).unwrap()
        };
        let (whole, checkpointed) = (run(false), run(true));
        assert_eq!(whole.loss.to_bits(), checkpointed.loss.to_bits());
        assert_eq!(values(&whole.gradients), values(&checkpointed.gradients));
        assert!(values(&whole.gradients).iter().any(|&g| g != 0.0));
        assert_eq!(bits(&decoder), before);
    }
    let config = LossConfig {
        gradient_checkpointing: true,
        ..LossConfig::default()
    };
    let error = loss_gradients(&mut tiny_decoder(), &lora(), &batches, config, |_| None);
    assert!(matches!(
        error.unwrap_err(),
        TrainError::Adapter(AdapterError::NoAdapter)
    ));
}

#[test]
fn the_weighting_decides_what_counts_the_same() {
    let examples = random_examples(4);
    let mut decoder = adapted_decoder(&tiny_lora());
    let losses: Vec<(f64, usize)> = examples
        .iter()
        .map(|example| {
            let one = std::slice::from_ref(example);
            let part = gradients(&mut decoder, one, 1, LossWeighting::PerToken);
            (part.loss, part.num_target_tokens)
        })
        .collect();
    let num_targets: usize = losses.iter().map(|(_, n)| n).sum();
    let per_token: f64 = losses.iter().map(|(loss, n)| loss * *n as f64).sum::<f64>();
    let per_example: f64 = losses.iter().map(|(loss, _)| loss).sum();
    let expected = [per_token / num_targets as f64, per_example / 4.0];
    let weightings = [LossWeighting::PerToken, LossWeighting::PerExample];
    for (weighting, expected) in weightings.into_iter().zip(expected) {
        let loss = gradients(&mut decoder, &examples, 4, weighting).loss;
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
    }
    assert!((expected[0] - expected[1]).abs() > 1e-3);
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let examples = random_examples(3);
    let mut decoder = adapted_decoder(&tiny_lora());
    let whole = gradients(&mut decoder, &examples, 3, LossWeighting::PerToken);
    let factors = AdapterFactors::of(&decoder).into_tensors();
    // Along the gradient of one factor at a time the slope is its norm.
    for index in [0, 1, 7, 13, 20, 27] {
        let gradient = whole.gradients[index].clone();
        let norm = values(std::slice::from_ref(&gradient))
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        let mut moved = |amount: f64| {
            let mut factors = factors.clone();
            factors[index] = factors[index].clone() + gradient.clone() * (amount / norm);
            replace(&mut decoder, factors).unwrap();
            gradients(&mut decoder, &examples, 3, LossWeighting::PerToken).loss
        };
        let h = 2e-2;
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        assert!(
            (slope - norm).abs() < 0.02 * norm + 1e-4,
            "{index}: {slope} {norm}"
        );
    }
}

#[test]
fn only_target_tokens_count() {
    let ids: Vec<u32> = vec![1, 5, 9, 12, 3, 8];
    let targets = vec![false, false, false, true, true, false];
    let mut decoder = adapted_decoder(&tiny_lora());
    let mut loss = |ids: Vec<u32>| {
        let example = SftExample::new(ids, targets.clone()).unwrap();
        gradients(&mut decoder, &[example], 1, LossWeighting::PerToken)
    };
    let first = loss(ids.clone());
    assert_eq!(first.num_target_tokens, 2);
    assert_eq!(first.num_tokens, 6);
    // What follows the last target is seen by no target.
    let mut changed = ids.clone();
    changed[5] = 30;
    assert_eq!(loss(changed).loss, first.loss);
    let mut changed = ids;
    changed[4] = 30;
    assert_ne!(loss(changed).loss, first.loss);
}

#[test]
fn training_lowers_the_loss_and_repeats_bit_for_bit() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let config = TrainerConfig {
        num_train_epochs: 30,
        save_steps: None,
        ..config()
    };
    let (a, report) = train(config.clone(), dirs[0].path(), Resume::Never);
    let (b, again) = train(config.clone(), dirs[1].path(), Resume::Never);
    assert_eq!(bits(&a), bits(&b));
    assert_eq!(report.losses, again.losses);
    let epoch = |epoch: usize| report.losses[epoch * 3..epoch * 3 + 3].iter().sum::<f64>() / 3.0;
    assert!(epoch(29) < 0.85 * epoch(0), "{} {}", epoch(0), epoch(29));
    let (other, _) = train(
        TrainerConfig { seed: 1, ..config },
        dirs[2].path(),
        Resume::Never,
    );
    assert_ne!(bits(&a), bits(&other));
}

#[test]
fn a_loss_that_is_not_finite_names_step_and_examples_and_steps_nothing() {
    // An embedding row cannot be poisoned from here, so the factors are: any example fails.
    let mut decoder = adapted_decoder(&tiny_lora());
    let factors: Vec<Tensor<2>> = AdapterFactors::of(&decoder)
        .into_tensors()
        .into_iter()
        .map(|t| t * f32::MAX)
        .collect();
    replace(&mut decoder, factors).unwrap();
    let before = bits(&decoder);
    let config = TrainerConfig {
        shuffle: false,
        save_steps: None,
        ..config()
    };
    let error = Trainer::new(config, tiny_lora())
        .unwrap()
        .train(&mut decoder, &random_examples(11), &mut [])
        .unwrap_err();
    let TrainError::NonFinite {
        what,
        step,
        examples,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((what, step), ("loss", 1));
    assert!(!examples.is_empty() && examples.iter().all(|example| example.index < 4));
    assert_eq!(bits(&decoder), before);
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let run = |config: TrainerConfig, decoder: &mut Decoder, examples: &[SftExample]| {
        let trainer = Trainer::new(config, tiny_lora()).unwrap();
        trainer.train(decoder, examples, &mut []).unwrap_err()
    };
    let quiet = || TrainerConfig {
        save_steps: None,
        ..config()
    };
    let mut decoder = adapted_decoder(&tiny_lora());
    let none = run(quiet(), &mut decoder, &[]);
    assert!(matches!(none, TrainError::NoExamples));
    let long = SftExample::new(vec![1; 33], vec![true; 33]).unwrap();
    let mut examples = random_examples(2);
    examples.push(long);
    let error = run(quiet(), &mut decoder, &examples).to_string();
    assert_eq!(error, "example 2 has 33 tokens, the model takes at most 32");
    let unknown = SftExample::new(vec![1, VOCAB as u32], vec![true; 2]).unwrap();
    let examples = [random_examples(1).remove(0), unknown.with_id("odd")];
    let error = run(quiet(), &mut decoder, &examples).to_string();
    assert_eq!(
        error,
        "example 1 (id odd) has the token 40, the model's vocabulary has 40"
    );
    let half = AdapterFactors::of(&decoder).into_tensors().into_iter();
    let half: Vec<_> = half.map(|factor| factor.cast(DType::BF16)).collect();
    let mut of_half_numbers = decoder.clone();
    replace(&mut of_half_numbers, half).unwrap();
    let error = run(quiet(), &mut of_half_numbers, &random_examples(2)).to_string();
    assert!(
        error.ends_with("its factors are BF16, expected F32"),
        "{error}"
    );
    let error = run(config(), &mut decoder, &random_examples(2)).to_string();
    assert!(error.starts_with("save_steps: "), "{error}");
    let error = run(quiet(), &mut tiny_decoder(), &random_examples(2));
    assert!(matches!(
        error,
        TrainError::Adapter(AdapterError::NoAdapter)
    ));
    let error = loss_gradients(
        &mut tiny_decoder(),
        &lora(),
        &[random_examples(1).iter().collect()],
        LossConfig::default(),
        |_| None,
    );
    assert!(matches!(
        error.unwrap_err(),
        TrainError::Adapter(AdapterError::NoAdapter)
    ));

    struct Broken;
    impl LrSchedule for Broken {
        fn lr(&self, _step: usize) -> f64 {
            f64::NAN
        }
    }
    let before = bits(&decoder);
    let error = Trainer::new(quiet(), tiny_lora())
        .unwrap()
        .train_with(&mut decoder, &random_examples(2), &Broken, &mut [])
        .unwrap_err();
    assert!(matches!(error, TrainError::LearningRate { step: 1, .. }));
    assert_eq!(bits(&decoder), before);
}

#[test]
fn groups_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (_, report) = train(config(), dir.path(), Resume::Never);
    let examples = random_examples(11);
    let count = |group: &str| -> usize {
        let of_group = examples.iter().filter(|e| e.group() == Some(group));
        2 * of_group.map(SftExample::num_targets).sum::<usize>()
    };
    assert_eq!(report.target_tokens_by_group["task"], count("task"));
    assert_eq!(report.target_tokens_by_group["replay"], count("replay"));
    assert_eq!(report.num_target_tokens, count("task") + count("replay"));
    let share = report.target_token_share("replay");
    assert!((share + report.target_token_share("task") - 1.0).abs() < 1e-12);
    assert_eq!(report.target_token_share("other"), 0.0);
}

#[test]
fn adamw_follows_the_formula() {
    let device = Device::flex();
    let tensor = |x: f32| Tensor::<2>::from_data(TensorData::new(vec![x, -x], [1, 2]), &device);
    let config = AdamWConfig {
        betas: (0.8, 0.95),
        eps: 1e-3,
        weight_decay: 0.1,
    };
    let mut parameters = vec![tensor(0.5)];
    let mut adamw = AdamW::new(config, &parameters);
    let (mut p, mut m, mut v) = (0.5_f64, 0.0, 0.0);
    for (t, g) in [0.3, -0.2, 0.05, 0.0].into_iter().enumerate() {
        let lr = 0.01 * (t + 1) as f64;
        parameters = adamw.step(parameters, vec![tensor(g)], lr, 1.0).unwrap();
        let g = f64::from(g);
        p -= lr * 0.1 * p;
        m = 0.8 * m + 0.2 * g;
        v = 0.95 * v + 0.05 * g * g;
        let t = t as i32 + 1;
        let (m_hat, v_hat) = (m / (1.0 - 0.8_f64.powi(t)), v / (1.0 - 0.95_f64.powi(t)));
        p -= lr * m_hat / (v_hat.sqrt() + 1e-3);
        let got = values(&parameters);
        assert!((f64::from(got[0]) - p).abs() < 1e-6, "{got:?} {p}");
        assert_eq!(got[0], -got[1]);
    }
    let error = adamw.step(parameters, vec![], 0.1, 1.0).unwrap_err();
    assert!(matches!(error, TrainError::Shapes { .. }));
    assert_eq!(adamw.num_steps(), 4);
}

#[test]
fn clipping_scales_all_gradients_by_one_factor() {
    let device = Device::flex();
    let gradients = [
        Tensor::<2>::from_floats([[3.0, 0.0]], &device),
        Tensor::<2>::from_floats([[0.0], [4.0]], &device),
    ];
    let norm = grad_norm(&gradients).unwrap();
    assert_eq!(norm, 5.0);
    assert!((clip_coefficient(norm, Some(1.0)) - 0.2).abs() < 1e-6);
    assert_eq!(clip_coefficient(norm, Some(6.0)), 1.0);
    assert_eq!(clip_coefficient(norm, None), 1.0);
    assert_eq!(grad_norm(&[]).unwrap(), 0.0);

    // The optimiser multiplies by it before anything else.
    let parameters = gradients.each_ref().map(|g| g.clone() * 0.5).to_vec();
    let step = |gradients: Vec<Tensor<2>>, scale| {
        let mut adamw = AdamW::new(AdamWConfig::default(), &parameters);
        let parameters = adamw
            .step(parameters.clone(), gradients, 0.1, scale)
            .unwrap();
        let moments = adamw.moments().iter();
        let squares = moments.map(|m| m.exp_avg_sq.clone()).collect::<Vec<_>>();
        (values(&parameters), values(&squares))
    };
    let scaled = gradients.each_ref().map(|g| g.clone() * 0.2).to_vec();
    assert_eq!(step(gradients.to_vec(), 0.2), step(scaled, 1.0));
}
