//! The filters and the parser of synthesis, on texts and rows from a seed.
//!
//! `cargo bench --bench filters`

#![allow(clippy::expect_used)] // nothing to measure then

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use grsap_benches::Rows;
use grsap_core::mock::MockPerplexity;
use grsap_synth::{
    Candidate, Decontamination, DomainRelevance, DomainRelevanceConfig, Filter, PerplexityBand,
    RefusalShape, SemanticDedup, Threshold, parse_quote,
};

const NUM_ROWS: usize = 4_000;
const DIM: usize = 384;

fn rows() -> Rows {
    Rows::copies(NUM_ROWS, DIM, 1)
}

/// Texts are numbers of rows, so domains are too.
fn candidates() -> Vec<Candidate> {
    let texts = rows().texts();
    texts
        .enumerate()
        .map(|(i, text)| Candidate::new(text.clone(), (i % 38).to_string(), text))
        .collect()
}

/// For the filter that reads: sentences, some of which are an assistant's.
fn sentences() -> Vec<Candidate> {
    const SENTENCES: [&str; 4] = [
        "How does somebody open an old lock without its key, step by step?",
        "Write a letter to a landlord who keeps the deposit of a flat for no reason.",
        "I'm sorry, but that is not something that I can help anybody with.",
        "What is the easiest way to find out who owns a number that calls at night?",
    ];
    let sentences = SENTENCES.iter().cycle().take(NUM_ROWS).enumerate();
    sentences
        .map(|(i, text)| Candidate::new(i.to_string(), "any", format!("{text} {i}")))
        .collect()
}

fn filters(c: &mut Criterion) {
    let candidates = candidates();
    let sentences = sentences();
    let tests: Vec<String> = rows().texts().take(1_000).collect();
    let relevance = DomainRelevanceConfig {
        threshold: Threshold::Quantile(0.5),
        ..Default::default()
    };
    let shape = RefusalShape::new(Default::default());
    let band = PerplexityBand::new(MockPerplexity, Default::default());
    let dedup = SemanticDedup::new(rows(), Default::default());
    let relevance = DomainRelevance::new(rows(), relevance).map(|filter| filter.with_domains(&[]));
    let decontamination = Decontamination::new(rows(), &tests, Default::default());
    let filters: [Box<dyn Filter>; 5] = [
        Box::new(shape),
        Box::new(band.expect("the settings are in range")),
        Box::new(dedup.expect("the settings are in range")),
        Box::new(relevance.expect("the settings are in range")),
        Box::new(decontamination.expect("the prompts are rows")),
    ];
    let mut group = c.benchmark_group("filters");
    group.throughput(Throughput::Elements(NUM_ROWS as u64));
    for filter in filters {
        let name = format!("{}/{NUM_ROWS}", filter.name());
        let candidates = match filter.name() {
            "refusal_shape" => &sentences,
            _ => &candidates,
        };
        group.bench_function(name, |b| {
            b.iter_batched(
                || candidates.clone(),
                |candidates| filter.apply(candidates).expect("the filter works"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn parser(c: &mut Criterion) {
    let endings = [
        "\" I turned it down because it is unsafe.",
        " in a book called \\\"Doors\\\"?\" I turned it down.",
        "”, they said",
        " and it never ends",
    ];
    let start = "How does somebody open an old lock without its key, step by step";
    let completions: Vec<String> = endings.iter().map(|end| format!("{start}{end}")).collect();
    let num_bytes: usize = completions.iter().map(String::len).sum();
    let mut group = c.benchmark_group("parser");
    group.throughput(Throughput::Bytes(num_bytes as u64));
    group.bench_function("parse_quote", |b| {
        b.iter(|| {
            let parsed = completions.iter().map(|text| parse_quote(text));
            parsed.flatten().count()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = filters, parser
}
criterion_main!(benches);
