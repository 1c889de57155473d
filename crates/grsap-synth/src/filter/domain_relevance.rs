use std::collections::BTreeMap;

use grsap_core::Embedder;
use serde::{Deserialize, Serialize};

use super::embeddings::{Embeddings, dot};
use super::{Filter, FilterError, Threshold};
use crate::{Candidate, Filtered, Rejected, Template};

const NAME: &str = "domain_relevance";

/// Settings of [`DomainRelevance`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainRelevanceConfig {
    /// The text that queries are compared with; `{domain}` must occur in it.
    pub domain_text: String,
    /// The least cosine that is kept.
    pub threshold: Threshold,
}

impl Default for DomainRelevanceConfig {
    /// GR-SAP, stage 2: a cosine of at least 0.5 with the bare name. That value belongs to the
    /// paper's embedder; for another one look at the reported distribution, or use a quantile.
    fn default() -> Self {
        Self {
            domain_text: "{domain}".into(),
            threshold: Threshold::Value(0.5),
        }
    }
}

impl DomainRelevanceConfig {
    /// Checks the threshold too.
    pub(crate) fn template(&self) -> Result<Template, FilterError> {
        self.threshold.check("threshold")?;
        let template = Template::new("domain_text", &self.domain_text, &["domain"])?;
        Ok(template.require("domain_text", "domain")?)
    }
}

/// Drops queries that have little to do with the domain that was asked for.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockEmbedder;
/// use grsap_synth::{Candidate, DomainRelevance, Filter};
///
/// let candidates = vec![
///     Candidate::new("0", "theft", "theft prevention"),
///     Candidate::new("1", "theft", "a nice recipe"),
/// ];
/// let filter = DomainRelevance::new(MockEmbedder::new(64), Default::default())?;
/// let filtered = filter.apply(candidates)?;
/// assert_eq!(filtered.kept[0].id, "0");
/// assert_eq!(filtered.rejected[0].reason, "off_domain");
/// # Ok::<(), grsap_synth::FilterError>(())
/// ```
pub struct DomainRelevance<E> {
    embedder: E,
    domain_text: Template,
    threshold: Threshold,
}

impl<E: Embedder> DomainRelevance<E> {
    /// A filter that compares with `embedder`.
    ///
    /// # Errors
    ///
    /// [`FilterError`] names the setting that cannot be used.
    pub fn new(embedder: E, config: DomainRelevanceConfig) -> Result<Self, FilterError> {
        Ok(Self {
            embedder,
            domain_text: config.template()?,
            threshold: config.threshold,
        })
    }
}

impl<E: Embedder> Filter for DomainRelevance<E> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        let embeddings = Embeddings::queries(&self.embedder, &candidates)?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for candidate in &candidates {
            let next = numbers.len();
            numbers.entry(&candidate.domain).or_insert(next);
        }
        let mut names: Vec<(&str, usize)> = numbers.iter().map(|(k, v)| (*k, *v)).collect();
        names.sort_by_key(|(_, number)| *number);
        let texts: Vec<String> = names
            .iter()
            .map(|(name, _)| self.domain_text.fill(&[("domain", name)]))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let domains = Embeddings::new(&self.embedder, &texts, |index| {
            format!("domain {}", names.get(index).map_or("", |(name, _)| name))
        })?;
        let scores: Vec<f64> = candidates
            .iter()
            .zip(embeddings.rows())
            .map(|(candidate, row)| {
                let number = numbers.get(candidate.domain.as_str()).copied();
                f64::from(dot(row, domains.row(number.unwrap_or_default())))
            })
            .collect();

        let least = self.threshold.least(&scores);
        let mut filtered = Filtered::default();
        for (mut candidate, score) in candidates.into_iter().zip(scores) {
            if score >= least {
                candidate.scores.insert(NAME.to_owned(), score);
                filtered.kept.push(candidate);
            } else {
                let rejected = Rejected::new(NAME, "off_domain", Some(score), candidate);
                filtered.rejected.push(rejected);
            }
        }
        Ok(filtered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::MockEmbedder;

    fn candidates() -> Vec<Candidate> {
        vec![
            Candidate::new("0", "theft", "theft"),
            Candidate::new("1", "weapons", "weapons x"),
            Candidate::new("2", "theft", "theft x y z"),
            Candidate::new("3", "weapons", "theft"),
        ]
    }

    fn kept(config: DomainRelevanceConfig) -> Vec<String> {
        let filter = DomainRelevance::new(MockEmbedder::new(4096), config).unwrap();
        let out = filter.apply(candidates()).unwrap();
        assert_eq!(out.kept.len() + out.rejected.len(), 4);
        assert_eq!(out.report(NAME).scores.unwrap().num_scored, 4);
        out.kept.into_iter().map(|c| c.id).collect()
    }

    #[test]
    fn each_query_is_compared_with_its_own_domain() {
        assert_eq!(kept(DomainRelevanceConfig::default()), ["0", "1", "2"]);
    }

    #[test]
    fn a_quantile_keeps_a_share() {
        let quantile = |q| DomainRelevanceConfig {
            threshold: Threshold::Quantile(q),
            ..Default::default()
        };
        assert_eq!(kept(quantile(0.5)), ["0", "1"]);
        assert_eq!(kept(quantile(0.0)).len(), 4);
        assert_eq!(kept(quantile(1.0)), ["0"]);
    }

    #[test]
    fn settings_are_checked() {
        for (threshold, text) in [
            (Threshold::Value(1.5), "{domain}"),
            (Threshold::Quantile(-0.1), "{domain}"),
            (Threshold::Value(0.5), "no place"),
        ] {
            let config = DomainRelevanceConfig {
                domain_text: text.into(),
                threshold,
            };
            assert!(DomainRelevance::new(MockEmbedder::new(8), config).is_err());
        }
    }

    #[test]
    fn no_candidates_no_trouble() {
        let filter = DomainRelevance::new(MockEmbedder::new(8), Default::default()).unwrap();
        assert_eq!(filter.apply(vec![]).unwrap(), Filtered::default());
    }
}
