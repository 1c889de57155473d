use grsap_core::{ModelError, Progress};
use grsap_data::Difficulty;

use super::journal::Journal;
use super::journaled::Journaled;
use super::pipeline::{Synthesis, SynthesisModels};
use super::stages::{Clock, Stages};
use crate::{
    BufferInfo, Candidate, Decontamination, DecontaminationConfig, DomainRelevance, Filter,
    FilterError, HardPolicy, Judging, PerplexityBand, RefusalShape, ReplayBuffer, ReplayExample,
    Responses, Revision, SemanticDedup, SynthError, WithProgress,
};

/// How candidates flow through the stages.
impl Synthesis {
    pub(super) fn run_stages(
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
            let task = "decontamination";
            let embedder = WithProgress::new(models.embedder, task, self.chunk_size, progress);
            candidates = filter(clock, stages, "decontamination", candidates, || {
                Decontamination::new(embedder, &self.evaluation_prompts, config)
            })?;
        }
        Ok(candidates)
    }

    pub(super) fn decontaminates(&self) -> Option<DecontaminationConfig> {
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
            while let Some(end) = end_of_call(&judged, chunk_size, is_last) {
                let rest = judged.split_off(end);
                let mut candidates = std::mem::replace(&mut judged, rest);
                if revises {
                    let revised = clock.time("revision", || {
                        revision.run(models.generator, models.guard, candidates, seed, &())
                    })?;
                    candidates = stages.add("revision", revised);
                }
                finished.extend(candidates);
                if judged.is_empty() {
                    break;
                }
            }
            progress.advance(num_asked);
            if is_last {
                progress.finish();
                return Ok(finished);
            }
        }
    }
}

/// How many of `judged` go on together: up to the hard one that makes a call full, or all at the end.
fn end_of_call(judged: &[Candidate], chunk_size: usize, is_last: bool) -> Option<usize> {
    let hard = judged.iter().enumerate();
    let mut hard = hard.filter(|(_, c)| c.difficulty == Some(Difficulty::Hard));
    match hard.nth(chunk_size.saturating_sub(1)) {
        Some((place, _)) => Some(place + 1),
        None => is_last.then_some(judged.len()),
    }
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
