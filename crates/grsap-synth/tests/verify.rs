//! A buffer is checked as a whole: what was changed, taken away or made otherwise is named.

// Helpers outside of test functions may panic as well.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_core::mock::{MockEmbedder, MockGenerator, MockGuard, MockPerplexity};
use grsap_core::{Prompt, SafetyDomain, digest_hex};
use grsap_synth::{
    BufferError, Manifest, Provenance, ReplayBuffer, Synthesis, SynthesisConfig, SynthesisModels,
};

const THINGS: [&str; 6] = ["apple", "bridge", "candle", "drum", "engine", "feather"];

fn answer(prompt: &Prompt, sample: usize) -> String {
    let text = prompt.to_string();
    match text.split("concerns about ").nth(1) {
        Some(_) if sample == 4 => "it never ends".into(),
        Some(rest) => {
            let domain = rest.split('.').next().unwrap();
            let (thing, other) = (THINGS[sample % 6], THINGS[sample / 6 % 6]);
            format!("{domain} {domain} {thing} {other}\" I refused")
        }
        None if text.contains("must not be answered") => "I cannot help with that.".into(),
        None if text.contains("apple") => "UNWISE advice".into(),
        None => "I will not do that.".into(),
    }
}

fn synthesis() -> Synthesis {
    let mut config = SynthesisConfig {
        seed: 4,
        domains: vec![
            SafetyDomain::new("theft").with_description("stealing an apple"),
            SafetyDomain::new("weapons"),
        ],
        ..Default::default()
    };
    config.extraction.num_samples = 20;
    let provenance = Provenance::new("mock")
        .with_hash("chat_template", digest_hex(b"{{ messages }}"))
        .with_version("grsap-model", "0.1.0");
    Synthesis::new(config).unwrap().with_provenance(provenance)
}

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let models = SynthesisModels {
        generator: &MockGenerator::new(answer),
        perplexity: &MockPerplexity,
        embedder: &MockEmbedder::new(256),
        guard: &MockGuard::new(["UNWISE"]),
    };
    let buffer = synthesis().run_in(folder.path(), models, &()).unwrap();
    assert!(!buffer.trainable().is_empty());
    folder
}

/// Changes the manifest as somebody would who also corrects its checksum.
fn change_manifest(folder: &Path, change: impl Fn(&mut Manifest)) {
    let path = folder.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    manifest.checksum = String::new();
    manifest.checksum = digest_hex(&serde_json::to_vec(&manifest).unwrap());
    fs::write(&path, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
}

#[test]
fn what_a_run_left_is_as_its_manifest_says() {
    let folder = made();
    let buffer = synthesis().verify(folder.path()).unwrap();
    assert_eq!(buffer, ReplayBuffer::load(folder.path()).unwrap());
    let manifest = buffer.manifest();
    assert_eq!(manifest.extraction_prompts.len(), 2);
    assert!(
        manifest.extraction_prompts[1]
            .to_string()
            .contains("weapons")
    );
    assert_eq!(manifest.provenance.versions["grsap-model"], "0.1.0");
    assert!(manifest.num_tokens > 0);
    let relevance = manifest
        .stages
        .iter()
        .find(|s| s.name == "domain_relevance");
    let relevance = relevance.unwrap();
    let (names, described) = (relevance.scores.unwrap(), relevance.other_scores["other"]);
    assert_eq!(names.num_scored, described.num_scored);
    assert_ne!(names.mean, described.mean);
    // The settings that are read back from the manifest are those of the run.
    let config: SynthesisConfig = serde_json::from_value(manifest.config.clone()).unwrap();
    assert_eq!(config.extraction.num_samples, 20);
}

#[test]
fn whatever_was_changed_is_named() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 5] = [
        ("stage extraction: kept is 39 in the manifest", |m| {
            m.stages[0].kept = 39;
        }),
        ("stage extraction: reasons is ", |m| {
            m.stages[0].reasons.insert("blank".into(), 2);
        }),
        ("stage perplexity: scores is ", |m| {
            m.stages[2].scores.as_mut().unwrap().p25 += 1e-9;
        }),
        ("stage domain_relevance: other_scores is ", |m| {
            m.stages[4].other_scores.clear();
        }),
        ("num_tokens is 1, the stages have ", |m| m.num_tokens = 1),
    ];
    for (expected, change) in cases {
        let folder = made();
        change_manifest(folder.path(), change);
        let error = ReplayBuffer::verify(folder.path()).unwrap_err();
        let BufferError::Differs { differences, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            differences.iter().any(|d| d.starts_with(expected)),
            "{expected}: {differences:?}"
        );
    }

    let folder = made();
    fs::write(folder.path().join("yields.md"), "nothing").unwrap();
    fs::remove_file(folder.path().join("yields.svg")).unwrap();
    let error = ReplayBuffer::verify(folder.path()).unwrap_err().to_string();
    assert!(error.contains("yields.md shows other figures"), "{error}");
    assert!(error.contains("yields.svg is missing"), "{error}");
    fs::remove_file(folder.path().join("rejected.jsonl")).unwrap();
    let error = ReplayBuffer::verify(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("rejected.jsonl is missing"), "{error}");
    assert!(ReplayBuffer::load(folder.path()).is_ok());
}

#[test]
fn other_settings_models_and_prompts_are_named() {
    let folder = made();
    let error = |synthesis: Synthesis| synthesis.verify(folder.path()).unwrap_err().to_string();
    let other = synthesis().with_provenance(Provenance::new("another"));
    let told = error(other);
    assert!(told.contains("provenance.model_id = \"mock\""), "{told}");
    let told = error(synthesis().with_evaluation_prompts(["x"]));
    assert!(told.contains("evaluation_prompts_sha256 = null"), "{told}");
    let told = error(Synthesis::new(SynthesisConfig::default()).unwrap());
    assert!(told.contains("provenance"), "{told}");
}

#[test]
fn the_table_and_the_picture_account_for_every_candidate() {
    let folder = made();
    let buffer = ReplayBuffer::load(folder.path()).unwrap();
    let yields = buffer.yields();
    assert_eq!(yields.domains.len(), 2);
    assert_eq!(yields.domains[0].domain, "theft");
    for domain in yields.domains.iter().chain([&yields.total()]) {
        let dropped: usize = domain.num_dropped.iter().sum();
        let kept = domain.num_trainable() + domain.num_unsafe;
        assert_eq!(domain.num_samples, dropped + kept);
    }
    let total = yields.total();
    assert_eq!(total.num_samples, 40);
    assert_eq!(total.num_trainable(), buffer.manifest().num_trainable);
    for (stage, dropped) in buffer.stages().iter().zip(&total.num_dropped) {
        assert_eq!(stage.rejected, *dropped, "{}", stage.name);
    }
    let reasons: usize = yields.reasons.iter().map(|(_, _, num)| num).sum();
    assert_eq!(reasons, buffer.rejected().len());

    let table = fs::read_to_string(folder.path().join("yields.md")).unwrap();
    assert!(
        table.contains("| domain | sampled | extraction |"),
        "{table}"
    );
    assert!(table.contains("\n| theft | 20 | 1 | "), "{table}");
    assert!(table.contains("\n| all | 40 | 2 | "), "{table}");
    assert!(
        table.contains("| extraction | no_closing_quote | 2 | 5.0 |"),
        "{table}"
    );
    assert!(table.contains("\n| domain_relevance.other | "), "{table}");
    let picture = fs::read_to_string(folder.path().join("yields.svg")).unwrap();
    // Every candidate is in a part of a bar.
    let parts = picture.split("<title>").skip(2);
    let sum: usize = parts
        .map(|part| part.split("</title>").next().unwrap())
        .map(|title| title.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(sum, 40);
}
