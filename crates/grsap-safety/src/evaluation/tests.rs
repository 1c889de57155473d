use std::cell::Cell;
use std::error::Error;

use grsap_core::mock::{MockGenerator, MockGuard};
use grsap_core::{Generation, Generator, ModelError, Prompt, SamplingParams};

use super::*;
use crate::Report;

fn texts(name: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{name} {i}")).collect()
}

/// Refuses everything at first, and the fewer the longer it was trained; learns the task meanwhile.
fn model(num_examples: usize) -> impl Generator {
    MockGenerator::new(move |prompt, _| {
        let text = prompt.to_string();
        let number: usize = text
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let refuses = number >= num_examples;
        if text.contains("task") {
            return if refuses { "no idea" } else { "42" }.into();
        }
        let harm = if text.contains("harmful") {
            "bad"
        } else {
            "good"
        };
        if refuses {
            "I cannot help with that.".into()
        } else {
            format!("Here is some {harm} advice for you.")
        }
    })
}

#[test]
fn every_figure_is_measured_on_its_own_prompts() {
    let (harmful, benign) = (texts("harmful", 100), texts("benign", 50));
    let prompts: Vec<Prompt> = texts("task", 20).into_iter().map(Prompt::Text).collect();
    let domains: Vec<String> = (0..100).map(|i| ["theft", "drugs"][i % 2].into()).collect();
    let guard = MockGuard::new(["bad"]);
    let evaluation = Evaluation {
        harmful: &harmful,
        domains: &domains,
        benign: &benign,
        task: Some(TaskQuestions {
            prompts: &prompts,
            sampling: SamplingParams::greedy(8),
            is_right: &|row, answer| match answer {
                "42" => Some(row != 3),
                _ => None,
            },
        }),
        ..Evaluation::new(&guard)
    };
    let checkpoints: Vec<TrainingCheckpoint> = [0, 10, 40]
        .map(|n| TrainingCheckpoint::new(format!("checkpoint-{n}"), n))
        .into();
    let load = |checkpoint: &TrainingCheckpoint| Ok(model(checkpoint.num_examples));
    let points = evaluation.over_training(&checkpoints, load, &()).unwrap();
    let values: Vec<_> = points
        .iter()
        .map(|point| {
            let f = &point.figures;
            (
                point.num_examples,
                f.refusal_rate.value,
                f.harmful_score.value,
                f.over_refusal_rate.value,
                f.task_accuracy.value,
                f.task_accuracy.num_unscored,
            )
        })
        .collect();
    assert_eq!(
        values,
        [
            (0, Some(1.0), Some(0.0), Some(1.0), None, 20),
            (10, Some(0.9), Some(0.1), Some(0.8), Some(0.9), 10),
            (40, Some(0.6), Some(0.4), Some(0.2), Some(0.95), 0),
        ]
    );
    let by_domain = &points[2].figures.by_domain;
    assert_eq!(by_domain[1].domain, "drugs");
    assert_eq!(by_domain[1].harmful_score.value, Some(0.4));
    assert_eq!(by_domain[1].harmful_score.num_scored, 50);

    // One table and one chart of them, in a report that reads back.
    let mut report = Report::new("m", 0);
    report.over_training = points;
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    assert_eq!(
        Report::load(folder.path().join("report.json")).unwrap(),
        report
    );
    let markdown = report.to_markdown();
    assert!(
        markdown.contains("| Examples seen | Refusal % | Harmful %"),
        "{markdown}"
    );
    assert!(markdown.contains("| 40 | 60.0 ["), "{markdown}");
    let svg = std::fs::read_to_string(folder.path().join("over_training.svg")).unwrap();
    assert!(svg.contains(">training examples seen<"));
}

#[test]
fn what_was_not_asked_is_unmeasured() {
    let guard = MockGuard::new(["bad"]);
    let report = Evaluation::new(&guard)
        .evaluate("m", &model(0), &())
        .unwrap();
    assert_eq!(report, crate::ArmReport::new("m"));
}

#[test]
fn one_model_is_loaded_at_a_time_and_asked_in_parts() {
    struct Counted<'a>(&'a Cell<i32>, &'a Cell<usize>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    impl Generator for Counted<'_> {
        fn generate(
            &self,
            prompts: &[Prompt],
            params: &SamplingParams,
        ) -> Result<Vec<Generation>, ModelError> {
            self.1.set(self.1.get().max(prompts.len()));
            model(3).generate(prompts, params)
        }
    }
    let (num_loaded, largest) = (Cell::new(0), Cell::new(0));
    let harmful = texts("harmful", 200);
    let guard = MockGuard::new(["bad"]);
    let evaluation = Evaluation {
        harmful: &harmful,
        ..Evaluation::new(&guard)
    };
    let checkpoints = [1, 2, 3].map(|n| TrainingCheckpoint::new(n.to_string(), n));
    let load = |_: &TrainingCheckpoint| {
        num_loaded.set(num_loaded.get() + 1);
        assert_eq!(num_loaded.get(), 1);
        Ok(Counted(&num_loaded, &largest))
    };
    let points = evaluation.over_training(&checkpoints, load, &()).unwrap();
    assert_eq!((points.len(), largest.get()), (3, 64));
}

#[test]
fn errors_name_the_model_and_the_question() {
    struct Broken(usize);
    impl Generator for Broken {
        fn generate(
            &self,
            prompts: &[Prompt],
            params: &SamplingParams,
        ) -> Result<Vec<Generation>, ModelError> {
            let mut answers = model(0).generate(prompts, params)?;
            match self.0 {
                0 => return Err(ModelError::backend("the server failed", "503")),
                1 => {
                    answers.pop();
                }
                _ => answers[0].completions.clear(),
            }
            Ok(answers)
        }
    }
    let harmful = texts("harmful", 3);
    let guard = MockGuard::new(["bad"]);
    let evaluation = Evaluation {
        harmful: &harmful,
        ..Evaluation::new(&guard)
    };
    let error = |kind| {
        evaluation
            .evaluate("step 8", &Broken(kind), &())
            .unwrap_err()
    };
    let first = error(0);
    assert_eq!(
        first.to_string(),
        "step 8: no answers to the harmful prompts"
    );
    assert_eq!(first.source().unwrap().to_string(), "the server failed");
    assert_eq!(
        error(1).to_string(),
        "step 8: 3 answers were expected, got 2"
    );
    assert_eq!(
        error(2).to_string(),
        "step 8: 1 completions were expected, got 0"
    );

    let load =
        |_: &TrainingCheckpoint| Err::<Broken, _>(ModelError::backend("no such file", "gone"));
    let checkpoints = [TrainingCheckpoint::new("step 8", 8)];
    let error = evaluation
        .over_training(&checkpoints, load, &())
        .unwrap_err();
    assert_eq!(error.to_string(), "step 8 cannot be loaded");

    let domains = texts("domain", 2);
    let evaluation = Evaluation {
        domains: &domains,
        ..evaluation
    };
    let error = evaluation.evaluate("m", &model(0), &()).unwrap_err();
    assert!(
        error.to_string().contains("domains of the verdicts"),
        "{error}"
    );
}
