use grsap_core::mock::MockEmbedder;
use grsap_core::{Embedder, Exchange, Guard, GuardError, ModelError, Safety};

use super::*;
use crate::LogisticError;

fn labelled(n: usize) -> Vec<LabelledExchange> {
    (0..n)
        .map(|i| LabelledExchange {
            prompt: format!("question {i}"),
            response: match i % 3 {
                0 => format!("sorry I cannot do {i}"),
                1 => format!("here is a way {i}"),
                _ => format!("a way is here {i}"),
            },
            label: i % 3 == 0,
            source: if i < n / 2 { "first" } else { "second" }.into(),
        })
        .collect()
}

fn exchange(response: &str) -> Exchange<'_> {
    Exchange {
        prompt: "question",
        response,
    }
}

#[test]
fn it_learns_refusals_and_reports_held_out_figures() {
    let data = labelled(60);
    let judge = EmbeddingJudge::fit(
        MockEmbedder::new(128),
        &data,
        EmbeddingJudgeConfig::default(),
    )
    .unwrap();
    let report = judge.report();
    assert_eq!(
        (report.num_examples, report.num_positive, report.num_folds),
        (60, 20, 5)
    );
    assert!(report.accuracy > 0.9 && report.auc > 0.95, "{report:?}");
    assert!(report.brier < 0.1, "{report:?}");
    assert_eq!(report.confusion.total(), 60);
    let sources: Vec<_> = report.by_source.iter().collect();
    assert_eq!(sources[0].0, "first");
    assert_eq!((sources[0].1.total(), sources[1].1.total()), (30, 30));
    assert!((0.05..0.95).contains(&judge.threshold()));
    assert!(judge.calibration().slope > 0.0);
    let verdicts = judge
        .judge(&[exchange("sorry I cannot"), exchange("here is a way")])
        .unwrap();
    assert_eq!(verdicts[0].response, Safety::Safe);
    assert_eq!(verdicts[0].refusal, Some(true));
    assert_eq!(verdicts[1].response, Safety::Unparsed);
    assert_eq!(verdicts[1].refusal, Some(false));
    assert!(verdicts[0].raw.parse::<f64>().unwrap() > judge.threshold() - 1e-4);
    assert_eq!(judge.judge(&[]).unwrap(), []);
}

#[test]
fn labels_that_mean_nothing_are_not_learnt() {
    // The label does not depend on the text: held out, no better than chance.
    let data: Vec<_> = (0..80)
        .map(|i| LabelledExchange {
            prompt: format!("p{i}"),
            response: format!("r{i} s{} t{}", i % 7, i % 5),
            label: grsap_core::digest_hex(&[i as u8]).starts_with(|c: char| c < '8'),
            source: String::new(),
        })
        .collect();
    let judge = EmbeddingJudge::fit(
        MockEmbedder::new(64),
        &data,
        EmbeddingJudgeConfig::default(),
    )
    .unwrap();
    let report = judge.report();
    assert!((0.3..0.7).contains(&report.auc), "{report:?}");
}

#[test]
fn harm_says_nothing_of_refusals() {
    let config = EmbeddingJudgeConfig {
        target: JudgeTarget::Harm,
        text: EmbeddedText::Pair,
        ..EmbeddingJudgeConfig::default()
    };
    let judge = EmbeddingJudge::fit(MockEmbedder::new(128), &labelled(60), config).unwrap();
    assert_eq!(judge.model().weights.len(), 256);
    let verdicts = judge
        .judge(&[exchange("sorry I cannot"), exchange("here is a way")])
        .unwrap();
    let got: Vec<_> = verdicts.iter().map(|v| (v.response, v.refusal)).collect();
    assert_eq!(got, [(Safety::Unsafe, None), (Safety::Safe, None)]);
}

#[test]
fn prompts_it_was_fitted_on_are_refused() {
    let config = EmbeddingJudgeConfig::default();
    let judge = EmbeddingJudge::fit(MockEmbedder::new(32), &labelled(30), config).unwrap();
    let exchanges = [
        exchange("here is a way"),
        Exchange {
            prompt: "Question  7",
            response: "here is a way",
        },
    ];
    let error = judge.judge(&exchanges).unwrap_err();
    assert!(matches!(error, GuardError::FittedOn { index: 1 }));
    assert_eq!(
        error.to_string(),
        "the judge was fitted on the prompt of exchange 1, so it cannot judge it"
    );
    assert!(judge.is_fitted_on("question 29") && !judge.is_fitted_on("question 30"));
    // The digests are saved with it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judge.json");
    judge.save(&path).unwrap();
    assert!(
        !std::fs::read_to_string(&path)
            .unwrap()
            .contains("question 7")
    );
    let loaded = EmbeddingJudge::load(MockEmbedder::new(32), &path).unwrap();
    assert!(loaded.judge(&exchanges).is_err());
    let verdicts = loaded.allowing_fitted_prompts().judge(&exchanges).unwrap();
    assert_eq!(verdicts[0], verdicts[1]);
}

#[test]
fn probabilities_follow_the_shares() {
    // Two texts that say the same in both classes: 1 in 4 and 3 in 4.
    let data: Vec<_> = (0..200)
        .map(|i| LabelledExchange {
            prompt: format!("p{i}"),
            response: if i < 100 { "left" } else { "right" }.into(),
            label: (i % 4 == 0) == (i < 100),
            source: String::new(),
        })
        .collect();
    let config = EmbeddingJudgeConfig::default();
    let judge = EmbeddingJudge::fit(MockEmbedder::new(16), &data, config).unwrap();
    let got = judge
        .probabilities(&[exchange("left"), exchange("right")])
        .unwrap();
    assert!(
        (got[0] - 0.25).abs() < 0.05 && (got[1] - 0.75).abs() < 0.05,
        "{got:?}"
    );
}

#[test]
fn the_threshold_moves_the_verdict() {
    let fit = |threshold| {
        let config = EmbeddingJudgeConfig {
            threshold: Some(threshold),
            text: EmbeddedText::Joined,
            ..EmbeddingJudgeConfig::default()
        };
        EmbeddingJudge::fit(MockEmbedder::new(128), &labelled(60), config).unwrap()
    };
    let refusals = |judge: &EmbeddingJudge<_>| -> usize {
        let data = labelled(60);
        let exchanges: Vec<_> = data.iter().map(|e| exchange(&e.response)).collect();
        let verdicts = judge.judge(&exchanges).unwrap();
        verdicts.iter().filter(|v| v.refusal == Some(true)).count()
    };
    assert_eq!(refusals(&fit(0.001)), 60);
    assert_eq!(refusals(&fit(0.999)), 0);
}

#[test]
fn saving_and_loading_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judge.json");
    let judge = EmbeddingJudge::fit(
        MockEmbedder::new(32),
        &labelled(30),
        EmbeddingJudgeConfig::default(),
    )
    .unwrap();
    judge.save(&path).unwrap();
    let loaded = EmbeddingJudge::load(MockEmbedder::new(32), &path).unwrap();
    assert_eq!(loaded.file, judge.file);
    let bytes = std::fs::read(&path).unwrap();
    loaded.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no file left beside it"
    );
}

#[test]
fn a_file_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("judge.json");
    let load = |dim| EmbeddingJudge::load(MockEmbedder::new(dim), &path).unwrap_err();
    assert!(matches!(load(32), JudgeError::Io { .. }));
    EmbeddingJudge::fit(
        MockEmbedder::new(32),
        &labelled(30),
        EmbeddingJudgeConfig::default(),
    )
    .unwrap()
    .save(&path)
    .unwrap();
    assert_eq!(
        load(16).to_string(),
        "the judge was fitted on embeddings of 32 numbers, the embedder gives 16"
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["model"]["weights"].as_array_mut().unwrap().pop();
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(load(32).to_string().ends_with("31 weights, expected 32"));
    json["format"] = 1.into();
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(load(32).to_string().ends_with("format 1 is not 2"));
    std::fs::write(&path, text.split_at(100).0).unwrap();
    assert!(matches!(load(32), JudgeError::Malformed { .. }));
}

#[test]
fn bad_input_is_named() {
    let fit = |n, config| {
        EmbeddingJudge::fit(MockEmbedder::new(8), &labelled(n), config)
            .unwrap_err()
            .to_string()
    };
    let config = EmbeddingJudgeConfig::default();
    assert_eq!(
        fit(4, config.clone()),
        "4 labelled exchanges are too few for 5 folds by prompt"
    );
    let bad = EmbeddingJudgeConfig {
        threshold: Some(1.0),
        ..config.clone()
    };
    assert_eq!(fit(30, bad), "threshold must be in (0, 1), got 1");
    let bad = EmbeddingJudgeConfig {
        num_folds: 1,
        ..config.clone()
    };
    assert_eq!(fit(30, bad), "num_folds must be at least 2, got 1");
    let one_class: Vec<_> = labelled(30).into_iter().filter(|e| e.label).collect();
    let error = EmbeddingJudge::fit(MockEmbedder::new(8), &one_class, config).unwrap_err();
    assert!(matches!(
        error,
        JudgeError::Fit(LogisticError::OneClass { .. })
    ));
}

#[test]
fn a_broken_embedder_is_an_error() {
    struct Broken(Vec<f32>);
    impl Embedder for Broken {
        fn dim(&self) -> usize {
            2
        }

        fn embed(&self, _: &[&str]) -> Result<Vec<f32>, ModelError> {
            Ok(self.0.clone())
        }
    }
    let fit = |values| {
        EmbeddingJudge::fit(
            Broken(values),
            &labelled(5),
            EmbeddingJudgeConfig::default(),
        )
    };
    assert!(matches!(
        fit(vec![0.0; 9]),
        Err(JudgeError::Embedder(ModelError::Backend { .. }))
    ));
    let mut values = vec![0.5; 10];
    values[7] = f32::NAN;
    assert!(matches!(
        fit(values),
        Err(JudgeError::Embedder(ModelError::NonFinite { index: 3, .. }))
    ));
}
