use std::path::Path;

use grsap_core::{Embedder, Generator, Guard, ModelError, Perplexity, Progress, digest_hex};
use grsap_data::Difficulty;
use serde_json::{Value, json};

use super::SynthesisConfig;
use super::first_difference::first_difference;
use super::journal::Journal;
use super::journaled::Journaled;
use super::stages::{Clock, Stages};
use crate::batch::CHUNK_SIZE;
use crate::{
    BufferInfo, Candidate, Decontamination, DecontaminationConfig, DomainRelevance, Extraction,
    Filter, FilterError, HardPolicy, Judging, PerplexityBand, Provenance, QueryExtractor,
    RefusalShape, ReplayBuffer, ReplayExample, Responses, Revision, SemanticDedup, SynthError,
    WithProgress,
};

/// The models that a [`Synthesis`] works with.
#[derive(Clone, Copy)]
pub struct SynthesisModels<'a> {
    /// The aligned model whose alignment is to be kept.
    pub generator: &'a dyn Generator,
    /// A small language model that tells text from noise.
    pub perplexity: &'a dyn Perplexity,
    /// A sentence encoder.
    pub embedder: &'a dyn Embedder,
    /// A judge of responses.
    pub guard: &'a dyn Guard,
}

/// The whole of generative replay: extraction, filters, responses, judging, revision.
///
/// Each stage can be used alone; this is the order that the paper has them in, except that queries
/// are filtered before they are answered, which saves the answers to those that are dropped.
/// Queries are measured as they are written. The filters need all of them: a band of perplexity is
/// a share of the whole. From there on each query is answered, judged and revised as soon as it can
/// be, a chunk at a time.
///
/// # Source
///
/// GR-SAP, arXiv 2603.10243, stages 1 to 3.
pub struct Synthesis {
    config: SynthesisConfig,
    extraction: Extraction,
    evaluation_prompts: Vec<String>,
    provenance: Provenance,
    chunk_size: usize,
}

impl Synthesis {
    /// Checks the settings of every stage.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the stage and the setting that cannot be used.
    pub fn new(config: SynthesisConfig) -> Result<Self, SynthError> {
        config.check()?;
        Ok(Self {
            extraction: Extraction::new(config.extraction.clone())?,
            config,
            evaluation_prompts: Vec::new(),
            provenance: Provenance::default(),
            chunk_size: CHUNK_SIZE,
        })
    }

    /// Asks for queries in a way of your own.
    #[must_use]
    pub fn with_extractor(mut self, extractor: Box<dyn QueryExtractor>) -> Self {
        self.extraction = self.extraction.with_extractor(extractor);
        self
    }

    /// Drops queries that are in an evaluation set.
    #[must_use]
    pub fn with_evaluation_prompts(
        mut self,
        prompts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.evaluation_prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Notes the model in the manifest.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.provenance = provenance;
        self
    }

    /// Gives the models about this many texts in a call. It changes speed and memory, not the
    /// result.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self.extraction = self.extraction.with_chunk_size(chunk_size);
        self
    }

    /// Runs all stages in memory.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the stage that failed.
    pub fn run(
        &self,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<ReplayBuffer, SynthError> {
        self.run_stages(&Journal::in_memory(), models, progress)
    }

    /// Runs all stages and saves the buffer in `folder`, with a table and a picture of what became
    /// of the candidates of each domain.
    ///
    /// Whatever a model returns is on the disk, in `journal.jsonl`, before it counts. A run that was
    /// killed at any moment and is started again asks the models only for the rest, and the buffer
    /// is the same to the byte. The journal may be removed when the run is over.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), [`SynthError::ConfigMismatch`] when the folder was begun with other
    /// settings, [`SynthError::Journal`] when the journal was changed, and [`SynthError::InUse`]
    /// while another run works in the folder.
    pub fn run_in(
        &self,
        folder: impl AsRef<Path>,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<ReplayBuffer, SynthError> {
        let folder = folder.as_ref();
        let journal = Journal::open(&folder.join("journal.jsonl"), &self.identity()?)?;
        let buffer = self.run_stages(&journal, models, progress)?;
        buffer.save(folder)?;
        Ok(buffer)
    }

    fn run_stages(
        &self,
        journal: &Journal,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<ReplayBuffer, SynthError> {
        let models = SynthesisModels {
            generator: &Journaled::new(models.generator, journal),
            perplexity: &Journaled::new(models.perplexity, journal),
            embedder: &Journaled::new(models.embedder, journal),
            guard: &Journaled::new(models.guard, journal),
        };
        let clock = Clock::new(journal);
        let (mut stages, queries) = self.queries(&clock, models, progress)?;
        let candidates = self.answers(&clock, &mut stages, models, queries, progress)?;
        let examples = candidates
            .into_iter()
            .filter_map(ReplayExample::from_candidate)
            .collect();
        let (reports, rejected) = stages.finish(&clock);
        let info = BufferInfo {
            stages: reports,
            ..self.info()?
        };
        Ok(ReplayBuffer::new(examples, rejected, info)?)
    }

    /// Extraction and filters, again and again where there is a quota.
    fn queries(
        &self,
        clock: &Clock<'_>,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<(Stages, Vec<Candidate>), SynthError> {
        let num_samples = self.config.extraction.num_samples;
        let domains = self.config.domains.iter();
        let mut asked: Vec<_> = domains.map(|domain| (domain, num_samples)).collect();
        loop {
            let mut stages = Stages::default();
            let found = clock.time("extraction", || {
                let seed = self.config.seed;
                let mut score = |queries: &[Candidate]| self.score(clock, models, queries);
                self.extraction
                    .sample(models.generator, &asked, seed, progress, &mut score)
            })?;
            let queries = stages.add("extraction", found);
            let filtered = self.filter(clock, &mut stages, queries, models, progress)?;
            let quota = self.config.quota.as_ref();
            if !quota.is_some_and(|quota| quota.raise(&mut asked, &filtered)) {
                return Ok((stages, filtered));
            }
        }
    }

    /// Measures queries as they come. The filters, which must see all of them before they can drop
    /// one, find the scores in the journal.
    fn score(
        &self,
        clock: &Clock<'_>,
        models: SynthesisModels<'_>,
        queries: &[Candidate],
    ) -> Result<(), SynthError> {
        let config = &self.config;
        let shape = config.refusal_shape.clone().map(RefusalShape::new);
        let texts = queries.iter().map(|candidate| candidate.query.as_str());
        let texts: Vec<&str> = texts
            .filter(|query| {
                shape
                    .as_ref()
                    .is_none_or(|shape| !shape.is_refusal_shaped(query))
            })
            .collect();
        if texts.is_empty() {
            return Ok(());
        }
        let failed = |stage| {
            move |source: ModelError| SynthError::Filter {
                stage,
                source: source.into(),
            }
        };
        if config.perplexity_band.is_some() {
            clock
                .time("perplexity", || models.perplexity.perplexity(&texts))
                .map_err(failed("perplexity"))?;
        }
        let embeds = [
            ("dedup", config.semantic_dedup.is_some()),
            ("domain_relevance", config.domain_relevance.is_some()),
            ("decontamination", self.decontaminates().is_some()),
        ];
        if let Some((stage, _)) = embeds.into_iter().find(|(_, embeds)| *embeds) {
            clock
                .time(stage, || models.embedder.embed(&texts))
                .map_err(failed(stage))?;
        }
        Ok(())
    }

    fn filter(
        &self,
        clock: &Clock<'_>,
        stages: &mut Stages,
        mut candidates: Vec<Candidate>,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Candidate>, SynthError> {
        let config = &self.config;
        if let Some(config) = &config.refusal_shape {
            candidates = filter(clock, stages, "refusal_shape", candidates, || {
                Ok(RefusalShape::new(config.clone()))
            })?;
        }
        if let Some(config) = config.perplexity_band {
            candidates = filter(clock, stages, "perplexity", candidates, || {
                PerplexityBand::new(models.perplexity, config)
            })?;
        }
        if let Some(config) = config.semantic_dedup {
            candidates = filter(clock, stages, "dedup", candidates, || {
                SemanticDedup::new(models.embedder, config)
            })?;
        }
        if let Some(relevance) = &config.domain_relevance {
            candidates = filter(clock, stages, "domain_relevance", candidates, || {
                let filter = DomainRelevance::new(models.embedder, relevance.clone())?;
                Ok(filter.with_domains(&config.domains))
            })?;
        }
        if let Some(config) = self.decontaminates() {
            let task = "evaluation prompts";
            let embedder = WithProgress::new(models.embedder, task, self.chunk_size, progress);
            candidates = filter(clock, stages, "decontamination", candidates, || {
                Decontamination::new(embedder, &self.evaluation_prompts, config)
            })?;
        }
        Ok(candidates)
    }

    fn decontaminates(&self) -> Option<DecontaminationConfig> {
        let config = self.config.decontamination;
        config.filter(|_| !self.evaluation_prompts.is_empty())
    }

    /// Answers, judges and revises queries, each as soon as it can be.
    fn answers(
        &self,
        clock: &Clock<'_>,
        stages: &mut Stages,
        models: SynthesisModels<'_>,
        queries: Vec<Candidate>,
        progress: &dyn Progress,
    ) -> Result<Vec<Candidate>, SynthError> {
        let (seed, chunk_size) = (self.config.seed, self.chunk_size.max(1));
        let responses = Responses::new(self.config.responses.clone())?.with_chunk_size(chunk_size);
        let judging = Judging::new(self.config.hard_policy).with_chunk_size(chunk_size);
        let revision = Revision::new(self.config.revision.clone())?.with_chunk_size(chunk_size);
        let revises = self.config.hard_policy == HardPolicy::Revise;

        progress.start("responses", queries.len());
        let (mut finished, mut judged) = (Vec::new(), Vec::new());
        let mut queries = queries.into_iter();
        loop {
            let chunk: Vec<Candidate> = queries.by_ref().take(chunk_size).collect();
            let (num_asked, is_last) = (chunk.len(), queries.len() == 0);
            let answered = clock.time("responses", || {
                responses.run(models.generator, chunk, seed, &())
            })?;
            let answered = stages.add("responses", answered);
            let verdicts = clock.time("judging", || judging.run(models.guard, answered, &()))?;
            judged.extend(stages.add("judging", verdicts));
            // Hard ones wait until there are enough of them for a call.
            let is_hard = |c: &&Candidate| c.difficulty == Some(Difficulty::Hard);
            if is_last || judged.iter().filter(is_hard).count() >= chunk_size {
                let mut candidates = std::mem::take(&mut judged);
                if revises {
                    let revised = clock.time("revision", || {
                        revision.run(models.generator, models.guard, candidates, seed, &())
                    })?;
                    candidates = stages.add("revision", revised);
                }
                finished.extend(candidates);
            }
            progress.advance(num_asked);
            if is_last {
                progress.finish();
                return Ok(finished);
            }
        }
    }

    /// Reads the buffer in `folder` and checks that it was made with these settings, models and
    /// prompts and that everything in it is as its manifest says.
    ///
    /// # Errors
    ///
    /// [`SynthError::ConfigMismatch`] names the first setting that differs, with its two values;
    /// otherwise as [`ReplayBuffer::verify`].
    pub fn verify(&self, folder: impl AsRef<Path>) -> Result<ReplayBuffer, SynthError> {
        let folder = folder.as_ref();
        let buffer = ReplayBuffer::verify(folder)?;
        let there = identity(&buffer.manifest().crate_version, &buffer.manifest().info());
        match first_difference("", &there, &self.identity()?) {
            None => Ok(buffer),
            Some((field, there, here)) => Err(SynthError::ConfigMismatch {
                folder: folder.into(),
                field,
                there,
                here,
            }),
        }
    }

    /// All that decides the result, for a folder to remember.
    fn identity(&self) -> Result<Value, SynthError> {
        Ok(identity(env!("CARGO_PKG_VERSION"), &self.info()?))
    }

    /// What is known before the run.
    fn info(&self) -> Result<BufferInfo, SynthError> {
        let evaluation_prompts = serde_json::to_vec(&self.evaluation_prompts)
            .map_err(serialize("the evaluation prompts"))?;
        Ok(BufferInfo {
            provenance: self.provenance.clone(),
            seed: self.config.seed,
            config: serde_json::to_value(&self.config).map_err(serialize("the settings"))?,
            extraction_prompts: self.extraction.prompts(&self.config.domains),
            evaluation_prompts_sha256: self
                .decontaminates()
                .map(|_| digest_hex(&evaluation_prompts)),
            stages: Vec::new(),
        })
    }
}

fn identity(crate_version: &str, info: &BufferInfo) -> Value {
    json!({
        "crate_version": crate_version,
        "provenance": info.provenance,
        "config": info.config,
        "extraction_prompts": info.extraction_prompts,
        "evaluation_prompts_sha256": info.evaluation_prompts_sha256,
    })
}

fn serialize(what: &'static str) -> impl Fn(serde_json::Error) -> SynthError {
    move |source| SynthError::Buffer(crate::BufferError::Serialize { what, source })
}

fn filter<F: Filter>(
    clock: &Clock<'_>,
    stages: &mut Stages,
    name: &'static str,
    candidates: Vec<Candidate>,
    filter: impl FnOnce() -> Result<F, FilterError>,
) -> Result<Vec<Candidate>, SynthError> {
    let filtered = clock
        .time(name, || {
            filter().and_then(|filter| filter.apply(candidates))
        })
        .map_err(|source| SynthError::Filter {
            stage: name,
            source,
        })?;
    Ok(stages.add(name, filtered))
}
