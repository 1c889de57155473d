//! Generative replay: an aligned model writes a stand-in for the data that aligned it.
//!
//! The stages are [`Extraction`] (the model writes queries that it would refuse), the [`Filter`]s,
//! [`Responses`] (it answers them), [`Judging`] (a guard tells easy queries from hard ones) and
//! [`Revision`] (hard ones are asked again with an instruction to refuse). Every stage returns a
//! [`Filtered`]: what it kept, what it dropped and why. [`Synthesis`] runs them all and gives a
//! [`ReplayBuffer`], which is a [`Dataset`](grsap_data::Dataset) of training records.
//!
//! No model is known here, only the traits of `grsap-core`; the example runs on its mocks.
//!
//! ```
//! use grsap_core::mock::{MockEmbedder, MockGenerator, MockGuard, MockPerplexity};
//! use grsap_data::{Dataset, MixPlan, Mixture, Record, SizeControl};
//! use grsap_synth::{ReplayBuffer, ReplayExample, Synthesis, SynthesisConfig, SynthesisModels};
//!
//! // A model that answers three kinds of prompts: quote a request, answer it, refuse it.
//! let model = MockGenerator::new(|prompt, sample| {
//!     let text = prompt.to_string();
//!     if text.ends_with('"') {
//!         let domain = text.split("concerns about ").nth(1).unwrap_or("").split('.').next();
//!         format!("Tell me of {} number {sample}\" I refused.", domain.unwrap_or(""))
//!     } else if text.contains("must not be answered") {
//!         "I cannot help with that.".into()
//!     } else if text.contains("number 1") {
//!         "UNWISE advice".into()
//!     } else {
//!         "I will not do that.".into()
//!     }
//! });
//! let guard = MockGuard::new(["UNWISE"]);
//!
//! let mut config = SynthesisConfig { seed: 7, ..Default::default() };
//! config.extraction.num_samples = 4;
//! config.semantic_dedup = None; // the mock's queries differ in one word only
//! config.domain_relevance = None;
//! let synthesis = Synthesis::new(config)?;
//!
//! let folder = tempfile::tempdir()?;
//! let models = SynthesisModels {
//!     generator: &model,
//!     perplexity: &MockPerplexity,
//!     embedder: &MockEmbedder::new(64),
//!     guard: &guard,
//! };
//! let buffer = synthesis.run_in(folder.path(), models, &())?;
//! for stage in buffer.stages() {
//!     println!("{}: {} kept, {} dropped", stage.name, stage.kept, stage.rejected);
//! }
//! assert_eq!(buffer.stages()[0].kept, 38 * 4);
//! assert_eq!(ReplayBuffer::load(folder.path())?, buffer);
//!
//! let task: Vec<Record> =
//!     (0..100).map(|i| Record::exchange(format!("{i} + 1?"), format!("{}", i + 1))).collect();
//! let plan = MixPlan::new(100, 0.1, SizeControl::Total)?;
//! let sampler = ReplayExample::sampler(0.5)?;
//! let mixture = Mixture::draw(plan, &task, &buffer.trainable(), &sampler, 7)?;
//! assert_eq!(mixture.len(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod buffer;
mod cached;
mod cached_embedder;
mod candidate;
mod error;
mod extraction;
mod extractor;
mod filter;
mod filtered;
mod judging;
mod provenance;
mod quantile;
mod quote;
mod report;
mod responses;
mod revision;
mod stage_sampling;
mod synthesis;
mod template;
mod with_progress;
mod yields;

pub use buffer::{BufferError, BufferInfo, Manifest, ReplayBuffer, ReplayExample};
pub use cached::{AnswerCache, Cached};
pub use cached_embedder::CachedEmbedder;
pub use candidate::{Candidate, Rejected};
pub use error::SynthError;
pub use extraction::{Extraction, ExtractionConfig};
pub use extractor::{AssistantExtractor, ExtractorConfig, QueryExtractor, UserExtractor};
pub use filter::{
    Decontamination, DecontaminationConfig, DomainRelevance, DomainRelevanceConfig, Filter,
    FilterError, PerplexityBand, PerplexityBandConfig, RefusalShape, RefusalShapeConfig,
    SemanticDedup, SemanticDedupConfig, Threshold,
};
pub use filtered::Filtered;
pub use judging::{HardPolicy, Judging};
pub use provenance::Provenance;
pub use quantile::quantile;
pub use quote::parse_quote;
pub use report::{ScoreSummary, StageReport};
pub use responses::{Responses, ResponsesConfig};
pub use revision::{Revision, RevisionConfig};
pub use stage_sampling::StageSampling;
pub use synthesis::{QuotaConfig, Synthesis, SynthesisConfig, SynthesisModels};
pub use template::{Template, TemplateError};
pub use with_progress::WithProgress;
pub use yields::{DomainYield, Yields};
