use grsap_core::SafetyDomain;
use serde::{Deserialize, Serialize};

use super::QuotaConfig;
use crate::{
    DecontaminationConfig, DomainRelevanceConfig, Extraction, ExtractionConfig, FilterError,
    HardPolicy, PerplexityBandConfig, RefusalShapeConfig, Responses, ResponsesConfig, Revision,
    RevisionConfig, SemanticDedupConfig, SynthError,
};

/// Settings of a whole [`Synthesis`](crate::Synthesis). A filter that is `None` is left out.
///
/// # Examples
///
/// ```
/// use grsap_synth::SynthesisConfig;
///
/// let config: SynthesisConfig = serde_json::from_str(
///     r#"{"seed": 7, "extraction": {"num_samples": 32}, "domain_relevance": null}"#,
/// )?;
/// assert_eq!(config.domains.len(), 38);
/// assert_eq!(config.extraction.num_samples, 32);
/// assert_eq!(config.semantic_dedup.unwrap().max_cosine, 0.85);
/// assert!(config.domain_relevance.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesisConfig {
    /// Fixes every draw.
    pub seed: u64,
    /// What to ask the model about.
    pub domains: Vec<SafetyDomain>,
    /// The model writes queries.
    pub extraction: ExtractionConfig,
    /// How long the model is asked on about a domain.
    pub quota: Option<QuotaConfig>,
    /// Drops sentences of an assistant. Not in the paper; small models need it.
    pub refusal_shape: Option<RefusalShapeConfig>,
    /// Drops what is too likely or too unlikely.
    pub perplexity_band: Option<PerplexityBandConfig>,
    /// Drops repetitions.
    pub semantic_dedup: Option<SemanticDedupConfig>,
    /// Drops what is off its domain.
    pub domain_relevance: Option<DomainRelevanceConfig>,
    /// Drops what is in an evaluation set, where evaluation prompts are given.
    pub decontamination: Option<DecontaminationConfig>,
    /// The model answers the queries.
    pub responses: ResponsesConfig,
    /// What becomes of those that it does not answer safely.
    pub hard_policy: HardPolicy,
    /// The model is asked those again.
    pub revision: RevisionConfig,
}

impl Default for SynthesisConfig {
    /// The paper's values, with the refusal-shape and decontamination filters on.
    fn default() -> Self {
        Self {
            seed: 0,
            domains: SafetyDomain::all(),
            extraction: ExtractionConfig::default(),
            quota: None,
            refusal_shape: Some(RefusalShapeConfig::default()),
            perplexity_band: Some(PerplexityBandConfig::default()),
            semantic_dedup: Some(SemanticDedupConfig::default()),
            domain_relevance: Some(DomainRelevanceConfig::default()),
            decontamination: Some(DecontaminationConfig::default()),
            responses: ResponsesConfig::default(),
            hard_policy: HardPolicy::default(),
            revision: RevisionConfig::default(),
        }
    }
}

impl SynthesisConfig {
    /// Checks every stage, so that a mistake in the last one does not show after hours.
    pub(super) fn check(&self) -> Result<(), SynthError> {
        if self.domains.is_empty() || self.domains.iter().any(|d| d.name.trim().is_empty()) {
            return Err(SynthError::Config {
                field: "domains",
                expected: "at least one domain, each with a name",
                got: format!("{} domains", self.domains.len()),
            });
        }
        Extraction::new(self.extraction.clone())?;
        if let Some(quota) = &self.quota {
            quota.check(self.extraction.num_samples)?;
        }
        let named = |stage| move |source: FilterError| SynthError::Filter { stage, source };
        if let Some(config) = &self.perplexity_band {
            config.check().map_err(named("perplexity"))?;
        }
        if let Some(config) = &self.semantic_dedup {
            config.check().map_err(named("dedup"))?;
        }
        if let Some(config) = &self.domain_relevance {
            config.templates().map_err(named("domain_relevance"))?;
        }
        if let Some(config) = &self.decontamination {
            config.check().map_err(named("decontamination"))?;
        }
        Responses::new(self.responses.clone())?;
        Revision::new(self.revision.clone())?;
        Ok(())
    }
}
