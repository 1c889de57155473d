mod decontamination;
mod domain_relevance;
mod embeddings;
mod perplexity_band;
mod refusal_shape;
mod semantic_dedup;
mod similarity;
mod threshold;
mod traits;

pub use decontamination::{Decontamination, DecontaminationConfig};
pub use domain_relevance::{DomainRelevance, DomainRelevanceConfig};
pub use perplexity_band::{PerplexityBand, PerplexityBandConfig};
pub use refusal_shape::{RefusalShape, RefusalShapeConfig};
pub use semantic_dedup::{SemanticDedup, SemanticDedupConfig};
pub use threshold::Threshold;
pub use traits::{Filter, FilterError};
