use std::path::Path;
use std::time::Instant;

use grsap_core::{Embedder, Generator, Guard, Perplexity, Progress, digest_hex};
use serde_json::{Value, json};

use super::SynthesisConfig;
use super::journal::Journal;
use super::journaled::Journaled;
use crate::batch::CHUNK_SIZE;
use crate::{
    BufferInfo, Candidate, Decontamination, DomainRelevance, Extraction, Filter, FilterError,
    Filtered, HardPolicy, Judging, PerplexityBand, Provenance, QueryExtractor, RefusalShape,
    Rejected, ReplayBuffer, ReplayExample, Responses, Revision, SemanticDedup, StageReport,
    SynthError, WithProgress,
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
        let (seed, chunk_size) = (self.config.seed, self.chunk_size);
        let (mut run, mut candidates) = self.queries(journal, models, progress)?;
        candidates = run.stage("responses", || {
            Responses::new(self.config.responses.clone())?
                .with_chunk_size(chunk_size)
                .run(models.generator, candidates, seed, progress)
        })?;
        candidates = run.stage("judging", || {
            Judging::new(self.config.hard_policy)
                .with_chunk_size(chunk_size)
                .run(models.guard, candidates, progress)
        })?;
        if self.config.hard_policy == HardPolicy::Revise {
            candidates = run.stage("revision", || {
                Revision::new(self.config.revision.clone())?
                    .with_chunk_size(chunk_size)
                    .run(models.generator, models.guard, candidates, seed, progress)
            })?;
        }
        let examples = candidates
            .into_iter()
            .filter_map(ReplayExample::from_candidate)
            .collect();
        let info = BufferInfo {
            provenance: self.provenance.clone(),
            seed,
            config: self.config_value()?,
            stages: run.reports,
        };
        Ok(ReplayBuffer::new(examples, run.rejected, info)?)
    }

    /// Extraction and filters, again and again where there is a quota.
    fn queries<'a>(
        &self,
        journal: &'a Journal,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<(Run<'a>, Vec<Candidate>), SynthError> {
        let num_samples = self.config.extraction.num_samples;
        let domains = self.config.domains.iter();
        let mut asked: Vec<_> = domains.map(|domain| (domain, num_samples)).collect();
        loop {
            let mut run = Run {
                journal,
                reports: Vec::new(),
                rejected: Vec::new(),
            };
            let extracted = run.stage("extraction", || {
                self.extraction
                    .sample(models.generator, &asked, self.config.seed, progress)
            })?;
            let filtered = self.filter(&mut run, extracted, models, progress)?;
            let quota = self.config.quota.as_ref();
            if !quota.is_some_and(|quota| quota.raise(&mut asked, &filtered)) {
                return Ok((run, filtered));
            }
        }
    }

    fn filter(
        &self,
        run: &mut Run<'_>,
        mut candidates: Vec<Candidate>,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<Vec<Candidate>, SynthError> {
        let config = &self.config;
        let perplexity =
            WithProgress::new(models.perplexity, "perplexity", self.chunk_size, progress);
        let embedder = WithProgress::new(models.embedder, "embeddings", self.chunk_size, progress);
        if let Some(config) = &config.refusal_shape {
            candidates = run.filter("refusal_shape", candidates, || {
                Ok(RefusalShape::new(config.clone()))
            })?;
        }
        if let Some(config) = config.perplexity_band {
            candidates = run.filter("perplexity", candidates, || {
                PerplexityBand::new(&perplexity, config)
            })?;
        }
        if let Some(config) = config.semantic_dedup {
            candidates = run.filter("dedup", candidates, || {
                SemanticDedup::new(&embedder, config)
            })?;
        }
        if let Some(config) = &config.domain_relevance {
            candidates = run.filter("domain_relevance", candidates, || {
                DomainRelevance::new(&embedder, config.clone())
            })?;
        }
        if let Some(config) = config.decontamination
            && !self.evaluation_prompts.is_empty()
        {
            candidates = run.filter("decontamination", candidates, || {
                Decontamination::new(&embedder, &self.evaluation_prompts, config)
            })?;
        }
        Ok(candidates)
    }

    /// All that decides the result, for a folder to remember.
    fn identity(&self) -> Result<Value, SynthError> {
        let prompts = self.extraction.prompts(&self.config.domains);
        let hash = |value: Result<Vec<u8>, _>| -> Result<String, SynthError> {
            Ok(digest_hex(&value.map_err(serialize("the prompts"))?))
        };
        Ok(json!({
            "crate_version": env!("CARGO_PKG_VERSION"),
            "provenance": self.provenance,
            "config": self.config_value()?,
            "extraction_prompts_sha256": hash(serde_json::to_vec(&prompts))?,
            "evaluation_prompts_sha256": hash(serde_json::to_vec(&self.evaluation_prompts))?,
        }))
    }

    fn config_value(&self) -> Result<Value, SynthError> {
        serde_json::to_value(&self.config).map_err(serialize("the settings"))
    }
}

fn serialize(what: &'static str) -> impl Fn(serde_json::Error) -> SynthError {
    move |source| SynthError::Buffer(crate::BufferError::Serialize { what, source })
}

/// A run on its way.
struct Run<'a> {
    journal: &'a Journal,
    reports: Vec<StageReport>,
    rejected: Vec<Rejected>,
}

impl Run<'_> {
    /// Runs a stage and notes what it did.
    fn stage(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<Filtered, SynthError>,
    ) -> Result<Vec<Candidate>, SynthError> {
        self.journal.take_recalled_seconds();
        let start = Instant::now();
        let filtered = work()?;
        let mut report = filtered.report(name);
        report.seconds = start.elapsed().as_secs_f64() + self.journal.take_recalled_seconds();
        tracing::info!(
            stage = name,
            kept = report.kept,
            rejected = report.rejected,
            "stage finished"
        );
        self.reports.push(report);
        self.rejected.extend(filtered.rejected);
        Ok(filtered.kept)
    }

    fn filter<F: Filter>(
        &mut self,
        name: &'static str,
        candidates: Vec<Candidate>,
        filter: impl FnOnce() -> Result<F, FilterError>,
    ) -> Result<Vec<Candidate>, SynthError> {
        self.stage(name, || {
            filter()
                .and_then(|filter| filter.apply(candidates))
                .map_err(|source| SynthError::Filter {
                    stage: name,
                    source,
                })
        })
    }
}
