//! Candidates flow: each is measured, answered, judged and revised as soon as the order allows.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use grsap_core::mock::{MockEmbedder, MockGenerator, MockGuard, MockPerplexity};
use grsap_core::{
    Embedder, Exchange, Generation, Generator, Guard, GuardError, ModelError, Perplexity, Prompt,
    SafetyDomain, SamplingParams, Verdict,
};
use grsap_synth::{Synthesis, SynthesisConfig, SynthesisModels};

/// Models that note when they are called for what, with how many texts.
#[derive(Default)]
struct Noted(RefCell<Vec<(&'static str, usize)>>);

impl Noted {
    fn note(&self, call: &'static str, num: usize) {
        self.0.borrow_mut().push((call, num));
    }
}

impl Generator for Noted {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        let first = prompts.first().map(Prompt::to_string).unwrap_or_default();
        let call = if first.contains("concerns about ") {
            "extract"
        } else if first.contains("must not be answered") {
            "revise"
        } else {
            "answer"
        };
        self.note(call, prompts.len());
        let model = MockGenerator::new(|prompt: &Prompt, sample| {
            let text = prompt.to_string();
            match text.split("concerns about ").nth(1) {
                Some(rest) => {
                    let domain = rest.split('.').next().unwrap();
                    format!("{domain} {domain} a{sample} b{sample} c{sample}\" tail")
                }
                None if text.contains("must not be answered") => "I will not.".into(),
                None if text.len().is_multiple_of(2) => "UNWISE".into(),
                None => "I cannot help.".into(),
            }
        });
        model.generate(prompts, params)
    }
}

impl Perplexity for Noted {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        self.note("score", texts.len());
        MockPerplexity.perplexity(texts)
    }
}

impl Embedder for Noted {
    fn dim(&self) -> usize {
        256
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        self.note("embed", texts.len());
        MockEmbedder::new(256).embed(texts)
    }
}

impl Guard for Noted {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        self.note("judge", exchanges.len());
        MockGuard::new(["UNWISE"]).judge(exchanges)
    }
}

#[test]
fn every_candidate_goes_on_as_soon_as_the_order_allows() {
    let mut config = SynthesisConfig {
        domains: ["theft", "weapons", "violence", "injustice"]
            .map(SafetyDomain::new)
            .into(),
        domain_relevance: None,
        ..Default::default()
    };
    config.extraction.num_samples = 20;
    let noted = Noted::default();
    let models = SynthesisModels {
        generator: &noted,
        perplexity: &noted,
        embedder: &noted,
        guard: &noted,
    };
    let synthesis = Synthesis::new(config).unwrap().with_chunk_size(8);
    let buffer = synthesis.run(models, &()).unwrap();
    let num_rows = buffer.examples().len();
    assert!(num_rows > 60, "{num_rows}");

    let calls = noted.0.into_inner();
    let places = |call| {
        let places = calls.iter().enumerate().filter(move |(_, c)| c.0 == call);
        places.map(|(place, _)| place)
    };
    let first = |call| places(call).next().unwrap();
    let last = |call| places(call).next_back().unwrap();
    // Each domain is measured before the next is asked about.
    let begin: Vec<_> = calls.iter().take(6).map(|call| call.0).collect();
    assert_eq!(
        begin,
        ["extract", "score", "embed", "extract", "score", "embed"]
    );
    assert!(
        last("embed") < first("answer"),
        "the filters want all queries"
    );
    assert!(first("judge") < last("answer"));
    assert!(first("revise") < last("answer"));
    // Hard ones wait for company; only what is left at the end goes in a smaller call.
    let sizes: Vec<usize> = places("revise")
        .filter_map(|at| calls.get(at))
        .map(|c| c.1)
        .collect();
    assert!(sizes.len() > 2, "{sizes:?}");
    assert!(
        sizes.iter().take(sizes.len() - 1).all(|size| *size == 8),
        "{sizes:?}"
    );
    // Nobody is asked twice.
    let asked = |call| -> usize { calls.iter().filter(|c| c.0 == call).map(|c| c.1).sum() };
    assert_eq!(asked("answer"), num_rows);
    assert_eq!(asked("score"), 80);
    assert_eq!(asked("embed"), 80);
    let num_revised = buffer
        .examples()
        .iter()
        .filter(|row| row.is_revised)
        .count();
    assert_eq!(asked("revise"), num_revised);
    assert_eq!(asked("judge"), num_rows + num_revised);
}
