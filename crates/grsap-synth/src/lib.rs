//! Generative replay: extraction, filtering and revision of synthetic alignment data.

mod batch;
mod cached_embedder;
mod candidate;
mod error;
mod extraction;
mod extractor;
mod filter;
mod filtered;
mod judging;
mod quantile;
mod quote;
mod report;
mod responses;
mod revision;
mod stage_sampling;
mod template;
mod with_progress;

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
pub use quantile::quantile;
pub use quote::parse_quote;
pub use report::{ScoreSummary, StageReport};
pub use responses::{Responses, ResponsesConfig};
pub use revision::{Revision, RevisionConfig};
pub use stage_sampling::StageSampling;
pub use template::{Template, TemplateError};
pub use with_progress::WithProgress;
