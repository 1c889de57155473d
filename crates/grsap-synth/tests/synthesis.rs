//! The whole synthesis on mocks: the same bytes for the same seed, interruption, bad folders.

// Helpers outside of test functions may panic as well.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use grsap_core::mock::{MockEmbedder, MockGenerator, MockGuard, MockPerplexity};
use grsap_core::{
    Exchange, Generation, Generator, Guard, GuardError, ModelError, Progress, Prompt, SafetyDomain,
    SamplingParams, Verdict,
};
use grsap_data::{Dataset, Difficulty};
use grsap_synth::{
    ExtractionConfig, ExtractorConfig, HardPolicy, Provenance, QuotaConfig, ReplayBuffer,
    SynthError, Synthesis, SynthesisConfig, SynthesisModels,
};

const THINGS: [&str; 8] = [
    "apple", "bridge", "candle", "drum", "engine", "feather", "garden", "hammer",
];

/// Queries share a domain word, differ in the rest, repeat, and are sometimes refusals.
fn query(prompt: &str, sample: usize) -> String {
    let domain = prompt
        .split("concerns about ")
        .nth(1)
        .and_then(|rest| rest.split('.').next())
        .unwrap_or("nothing");
    let thing = THINGS[sample % THINGS.len()];
    let other = THINGS[(sample * 3 + 1) % THINGS.len()];
    match sample {
        3 => "I cannot say what it was\" because".into(),
        5 => "it never ends".into(),
        7 => "a \\\"".into(),
        _ if sample.is_multiple_of(2) => format!("{domain} {domain} {thing} {other}\" I refused"),
        _ => format!("{domain} {domain} {domain} {thing} {other}\" I refused"),
    }
}

fn answer(prompt: &Prompt, sample: usize) -> String {
    let text = prompt.to_string();
    if text.contains("Repeat the user's request") {
        query(&text, sample)
    } else if text.contains("must not be answered") {
        if text.contains("drum") {
            "UNWISE again".into()
        } else {
            "I cannot help with that.".into()
        }
    } else if text.contains("violence garden") {
        "GARBLED".into()
    } else if text.contains("apple") || text.contains("drum") {
        "UNWISE advice".into()
    } else if text.contains("hammer") {
        " ".into()
    } else {
        "I will not do that.".into()
    }
}

fn config() -> SynthesisConfig {
    SynthesisConfig {
        seed: 11,
        domains: ["theft", "weapons", "violence"]
            .map(SafetyDomain::new)
            .into(),
        extraction: ExtractionConfig {
            num_samples: 12,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn synthesis(config: SynthesisConfig) -> Synthesis {
    Synthesis::new(config)
        .unwrap()
        .with_provenance(Provenance::new("mock").with_hash("weights", "abc"))
        .with_evaluation_prompts(["theft, theft: engine feather"])
}

/// Runs with mocks, the generator and guard being given.
fn run_in(
    folder: &Path,
    synthesis: &Synthesis,
    generator: &dyn Generator,
    guard: &dyn Guard,
) -> Result<ReplayBuffer, SynthError> {
    let models = SynthesisModels {
        generator,
        perplexity: &MockPerplexity,
        embedder: &MockEmbedder::new(4096),
        guard,
    };
    synthesis.run_in(folder, models, &())
}

fn guard() -> MockGuard {
    MockGuard::new(["UNWISE"]).with_garbled("GARBLED")
}

fn run_plain(folder: &Path, synthesis: &Synthesis) -> Result<ReplayBuffer, SynthError> {
    run_in(folder, synthesis, &MockGenerator::new(answer), &guard())
}

const TIMED: [&str; 2] = ["journal.jsonl", "timings.json"];

/// All files but those that hold times.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && !TIMED.iter().any(|name| path.ends_with(name)))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn every_stage_reports_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = run_plain(folder.path(), &synthesis(config())).unwrap();
    let names: Vec<_> = buffer.stages().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "extraction",
            "refusal_shape",
            "perplexity",
            "dedup",
            "domain_relevance",
            "decontamination",
            "responses",
            "judging",
            "revision"
        ]
    );
    let stage = |name: &str| buffer.stages().iter().find(|s| s.name == name).unwrap();
    assert_eq!(stage("extraction").kept, 33);
    assert_eq!(stage("extraction").reasons["no_closing_quote"], 3);
    assert_eq!(stage("extraction").counts["num_continuations"], 3);
    assert_eq!(stage("refusal_shape").rejected, 3);
    for pair in buffer.stages().windows(2) {
        let handed_on = pair[1].kept + pair[1].rejected;
        assert_eq!(
            pair[0].kept, handed_on,
            "{} to {}",
            pair[0].name, pair[1].name
        );
    }
    for name in ["perplexity", "dedup", "domain_relevance", "decontamination"] {
        let stage = stage(name);
        assert!(stage.scores.is_some(), "{name}");
        assert!(stage.rejected > 0 && stage.kept > 0, "{name}: {stage:?}");
    }
    let dropped: usize = buffer.stages().iter().map(|s| s.rejected).sum();
    assert_eq!(buffer.rejected().len(), dropped);
    assert!(stage("judging").counts["unparsed"] > 0);
    assert!(stage("revision").counts["still_unsafe"] > 0);
    assert!(stage("revision").counts["made_safe"] > 0);
    assert!(stage("responses").reasons["blank_response"] > 0);

    // Rows that stay unsafe are in the file and not in the data set.
    let num_unsafe = buffer.examples().iter().filter(|row| !row.is_safe).count();
    assert!(num_unsafe > 0);
    assert_eq!(buffer.len() + num_unsafe, buffer.examples().len());
    for index in 0..buffer.len() {
        let record = buffer.get(index).unwrap();
        assert!(record.validate().is_ok());
        assert!(!record.response().unwrap().contains("UNWISE"));
    }
    let is_hard = |row: &&grsap_synth::ReplayExample| row.difficulty == Difficulty::Hard;
    assert!(
        buffer
            .trainable()
            .iter()
            .filter(is_hard)
            .all(|row| row.is_revised)
    );
}

#[test]
fn same_seed_same_bytes_whatever_the_chunk_size() {
    let first = tempfile::tempdir().unwrap();
    let buffer = run_plain(first.path(), &synthesis(config())).unwrap();
    for chunk_size in [0, 1, 5, 1000] {
        let other = tempfile::tempdir().unwrap();
        let synthesis = synthesis(config()).with_chunk_size(chunk_size);
        run_plain(other.path(), &synthesis).unwrap();
        assert_eq!(
            files(first.path()),
            files(other.path()),
            "chunk size {chunk_size}"
        );
    }
    let in_memory = synthesis(config())
        .run(
            SynthesisModels {
                generator: &MockGenerator::new(answer),
                perplexity: &MockPerplexity,
                embedder: &MockEmbedder::new(4096),
                guard: &guard(),
            },
            &(),
        )
        .unwrap();
    assert_eq!(in_memory.examples(), buffer.examples());
    assert_eq!(in_memory.manifest().sha256, buffer.manifest().sha256);
    assert_eq!(ReplayBuffer::load(first.path()).unwrap(), buffer);
}

/// Fails once `num_left` calls have been answered.
struct Failing<M> {
    inner: M,
    num_left: Cell<usize>,
}

impl<M> Failing<M> {
    fn take(&self) -> Result<(), ModelError> {
        let left = self.num_left.get();
        if left == 0 {
            return Err(ModelError::backend("the machine", "power cut"));
        }
        self.num_left.set(left - 1);
        Ok(())
    }
}

impl<M: Generator> Generator for Failing<M> {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        self.take()?;
        self.inner.generate(prompts, params)
    }
}

impl<M: Guard> Guard for Failing<M> {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        self.take()?;
        self.inner.judge(exchanges)
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    let synthesis = synthesis(config());
    let counting = MockGenerator::new(answer);
    run_in(whole.path(), &synthesis, &counting, &guard()).unwrap();

    for (num_generator, num_guard) in [(0, 0), (2, 0), (3, 0), (9, 0), (99, 0), (99, 1)] {
        let parts = tempfile::tempdir().unwrap();
        let generator = Failing {
            inner: MockGenerator::new(answer),
            num_left: Cell::new(num_generator),
        };
        let failing_guard = Failing {
            inner: guard(),
            num_left: Cell::new(num_guard),
        };
        let error = run_in(parts.path(), &synthesis, &generator, &failing_guard).unwrap_err();
        assert!(
            matches!(error, SynthError::Model { .. } | SynthError::Guard { .. }),
            "{error}"
        );
        assert!(
            ReplayBuffer::load(parts.path()).is_err(),
            "nothing looks finished"
        );

        let again = MockGenerator::new(answer);
        let buffer = run_in(parts.path(), &synthesis, &again, &guard()).unwrap();
        assert_eq!(files(whole.path()), files(parts.path()));
        assert!(buffer.stages().iter().all(|stage| stage.seconds > 0.0));
        if num_guard > 0 {
            assert!(
                again.num_prompts() < counting.num_prompts() / 2,
                "stages are not run again"
            );
        }
    }
    // A finished run needs no model at all.
    let dead = Failing {
        inner: MockGenerator::new(answer),
        num_left: Cell::new(0),
    };
    run_in(whole.path(), &synthesis, &dead, &guard()).unwrap();
}

#[test]
fn a_folder_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run_plain(folder.path(), &synthesis(config())).unwrap();
    let refused = |synthesis: Synthesis| {
        run_plain(folder.path(), &synthesis)
            .unwrap_err()
            .to_string()
    };
    let mut other = config();
    other.extraction.sampling.temperature = 0.5;
    let error = refused(synthesis(other));
    assert!(
        error.ends_with(
            "begun with config.extraction.sampling.temperature = 1.0, but now it is 0.5"
        ),
        "{error}"
    );
    let error = refused(synthesis(config()).with_provenance(Provenance::new("another")));
    assert!(error.contains("provenance.model_id = \"mock\""), "{error}");
    let error = refused(synthesis(config()).with_evaluation_prompts(["x"]));
    assert!(error.contains("evaluation_prompts_sha256"), "{error}");
    let extractor = ExtractorConfig::user().build().unwrap();
    let error = refused(synthesis(config()).with_extractor(extractor));
    assert!(error.contains("extraction_prompts.0."), "{error}");

    // The journal of a finished run may go; its buffer is still not another's to replace, and the run
    // itself may still be started again.
    let before = files(folder.path());
    fs::remove_file(folder.path().join("journal.jsonl")).unwrap();
    let error = refused(synthesis(config()).with_provenance(Provenance::new("another")));
    assert!(error.contains("provenance.model_id = \"mock\""), "{error}");
    assert!(!folder.path().join("journal.jsonl").exists());
    run_plain(folder.path(), &synthesis(config())).unwrap();
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_changed_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run_plain(folder.path(), &synthesis(config())).unwrap();
    let path = folder.path().join("journal.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("bridge", "badger", 1)).unwrap();
    let error = run_plain(folder.path(), &synthesis(config())).unwrap_err();
    assert!(matches!(error, SynthError::Journal { .. }), "{error}");
    assert!(error.to_string().contains("journal.jsonl:2"), "{error}");
}

#[test]
fn a_journal_cut_anywhere_leads_to_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    run_plain(whole.path(), &synthesis(config())).unwrap();
    let journal = fs::read(whole.path().join("journal.jsonl")).unwrap();
    for part in 0..=60 {
        let cut = journal.len() * part / 60;
        let torn = tempfile::tempdir().unwrap();
        fs::write(torn.path().join("journal.jsonl"), &journal[..cut]).unwrap();
        run_plain(torn.path(), &synthesis(config())).unwrap();
        assert_eq!(files(whole.path()), files(torn.path()), "cut at {cut}");
    }
}

#[test]
fn a_quota_samples_on_until_there_is_enough() {
    // Of 64 samples of a domain only those with an even number give a query of their own.
    let script = |prompt: &Prompt, sample: usize| {
        let text = prompt.to_string();
        let domain = text.split("concerns about ").nth(1).unwrap();
        let domain = domain.split('.').next().unwrap();
        let is_rich = domain != "theft";
        if is_rich && sample.is_multiple_of(2) {
            format!("{domain} request w{sample} x{sample} y{sample} z{sample}\" tail")
        } else {
            format!("{domain} request again and again\" tail")
        }
    };
    let mut config = config();
    config.perplexity_band = None;
    config.domain_relevance = None;
    config.quota = Some(QuotaConfig {
        min_queries: 20,
        max_samples: 100,
    });
    let run = |config: &SynthesisConfig, folder: &Path| {
        let generator = MockGenerator::new(|prompt: &Prompt, sample| {
            if prompt.to_string().contains("concerns about ") {
                script(prompt, sample)
            } else {
                "I will not do that.".into()
            }
        });
        run_in(folder, &synthesis(config.clone()), &generator, &guard()).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let buffer = run(&config, folder.path());
    let num = |domain: &str| {
        let rows = buffer.examples().iter().map(|row| &row.domain);
        let dropped = buffer.rejected().iter().map(|r| &r.candidate.domain);
        let num_rows = rows.clone().filter(|d| *d == domain).count();
        (
            num_rows,
            num_rows + dropped.filter(|d| *d == domain).count(),
        )
    };
    assert_eq!(num("theft"), (1, 100), "the cap is reached");
    let (num_rows, num_samples) = num("weapons");
    assert!(num_rows >= 20, "{num_rows}");
    assert_eq!(num_samples, 64, "a round is enough");
    let chain = buffer.stages().windows(2);
    assert!(
        chain
            .into_iter()
            .all(|pair| pair[0].kept == pair[1].kept + pair[1].rejected)
    );

    // On again, from the journal alone, and from the first round of an interrupted run.
    let journal = folder.path().join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let other = tempfile::tempdir().unwrap();
    let begun: String = text.split_inclusive('\n').take(3).collect();
    fs::write(other.path().join("journal.jsonl"), begun).unwrap();
    run(&config, other.path());
    assert_eq!(files(folder.path()), files(other.path()));

    config.quota.as_mut().unwrap().max_samples = 11;
    let error = Synthesis::new(config).err().unwrap().to_string();
    assert!(
        error.starts_with("quota.max_samples must be at least"),
        "{error}"
    );
}

#[test]
fn excluding_drops_the_hard_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.hard_policy = HardPolicy::Exclude;
    let buffer = run_plain(folder.path(), &synthesis(config)).unwrap();
    assert_eq!(buffer.stages().last().unwrap().name, "judging");
    assert_eq!(buffer.len(), buffer.examples().len());
    assert_eq!(buffer.manifest().num_hard, 0);
    assert!(buffer.rejected().iter().any(|r| r.reason == "hard"));
}

#[test]
fn a_model_that_says_nothing_gives_an_empty_buffer() {
    let folder = tempfile::tempdir().unwrap();
    let silent = MockGenerator::new(|_, _| String::new());
    let buffer = run_in(folder.path(), &synthesis(config()), &silent, &guard()).unwrap();
    assert!(buffer.is_empty());
    assert_eq!(buffer.stages()[0].rejected, 36);
    assert_eq!(ReplayBuffer::load(folder.path()).unwrap(), buffer);
}

#[test]
fn mistakes_in_any_stage_show_at_once() {
    type Change = fn(&mut SynthesisConfig);
    let broken: [(&str, Change); 6] = [
        ("domains must be", |c| c.domains.clear()),
        ("extraction: ", |c| c.extraction.num_samples = 0),
        ("perplexity: ", |c| {
            c.perplexity_band.as_mut().unwrap().lower_quantile = 2.0
        }),
        ("dedup: ", |c| {
            c.semantic_dedup.as_mut().unwrap().max_cosine = f64::NAN
        }),
        ("responses: ", |c| c.responses.sampling.top_p = 0.0),
        ("revision: ", |c| c.revision.prompt = "no place".into()),
    ];
    for (expected, breaks) in broken {
        let mut config = config();
        breaks(&mut config);
        let error = Synthesis::new(config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = serde_json::from_str::<SynthesisConfig>(r#"{"sead": 1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `sead`"));
}

struct WrongCount;

impl Generator for WrongCount {
    fn generate(&self, _: &[Prompt], _: &SamplingParams) -> Result<Vec<Generation>, ModelError> {
        Ok(vec![])
    }
}

#[test]
fn a_model_that_returns_too_little_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = run_in(folder.path(), &synthesis(config()), &WrongCount, &guard()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "extraction: 3 generations were expected, got 0"
    );
}

/// Adds up what it is told.
#[derive(Default)]
struct Told(
    std::sync::Mutex<BTreeMap<String, (usize, usize)>>,
    std::sync::Mutex<String>,
);

impl Progress for Told {
    fn start(&self, task: &str, total: usize) {
        *self.1.lock().unwrap() = task.to_owned();
        self.0.lock().unwrap().entry(task.to_owned()).or_default().0 += total;
    }

    fn advance(&self, units: usize) {
        let task = self.1.lock().unwrap().clone();
        self.0.lock().unwrap().get_mut(&task).unwrap().1 += units;
    }

    fn finish(&self) {}
}

#[test]
fn progress_reaches_its_totals() {
    let told = Told::default();
    let models = SynthesisModels {
        generator: &MockGenerator::new(answer),
        perplexity: &MockPerplexity,
        embedder: &MockEmbedder::new(64),
        guard: &guard(),
    };
    synthesis(config())
        .with_chunk_size(4)
        .run(models, &told)
        .unwrap();
    let tasks = told.0.into_inner().unwrap();
    for task in ["extraction", "decontamination", "responses"] {
        let (total, done) = tasks[task];
        assert!(total > 0, "{task}");
        assert_eq!(total, done, "{task}");
    }
}
