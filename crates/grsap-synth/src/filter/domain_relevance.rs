use std::collections::HashMap;

use grsap_core::{Embedder, SafetyDomain};
use serde::{Deserialize, Serialize};

use super::embeddings::{Embeddings, dot};
use super::{Filter, FilterError, Threshold};
use crate::{Candidate, Filtered, Rejected, Template};

const NAME: &str = "domain_relevance";
const OTHER: &str = "domain_relevance.other";

/// Settings of [`DomainRelevance`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainRelevanceConfig {
    /// The text that queries are compared with; `{domain}`, the name, or `{description}` must
    /// occur in it. A domain without a description is described by its name.
    pub domain_text: String,
    /// A second text. How similar queries are to it is reported beside the first and decides nothing.
    pub other_text: Option<String>,
    /// The least cosine that is kept.
    pub threshold: Threshold,
}

impl Default for DomainRelevanceConfig {
    /// GR-SAP, stage 2: a cosine of at least 0.5 with the bare name. That value belongs to the
    /// paper's embedder; for another one look at the reported distribution, or use a quantile.
    fn default() -> Self {
        Self {
            domain_text: "{domain}".into(),
            other_text: Some("{description}".into()),
            threshold: Threshold::Value(0.5),
        }
    }
}

impl DomainRelevanceConfig {
    /// Queries are compared with the descriptions of the domains, and with the names for the report.
    pub fn descriptions(threshold: Threshold) -> Self {
        Self {
            domain_text: "{description}".into(),
            other_text: Some("{domain}".into()),
            threshold,
        }
    }

    /// Checks the threshold too.
    pub(crate) fn templates(&self) -> Result<(Template, Option<Template>), FilterError> {
        self.threshold.check("threshold")?;
        let read = |field, text: &str| {
            let template = Template::new(field, text, &["domain", "description"])?;
            if template.has("description") {
                return Ok::<_, FilterError>(template);
            }
            Ok(template.require(field, "domain")?)
        };
        let other = self.other_text.as_deref();
        Ok((
            read("domain_text", &self.domain_text)?,
            other.map(|text| read("other_text", text)).transpose()?,
        ))
    }
}

/// Drops queries that have little to do with the domain that was asked for.
///
/// A query's score is its cosine with a text about its domain: the name, as in the paper, or a
/// description of what belongs to it.
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
    other_text: Option<Template>,
    threshold: Threshold,
    descriptions: HashMap<String, String>,
}

impl<E: Embedder> DomainRelevance<E> {
    /// A filter that compares with `embedder`. The descriptions are those of
    /// [`SafetyDomain::all`].
    ///
    /// # Errors
    ///
    /// [`FilterError`] names the setting that cannot be used.
    pub fn new(embedder: E, config: DomainRelevanceConfig) -> Result<Self, FilterError> {
        let (domain_text, other_text) = config.templates()?;
        let filter = Self {
            embedder,
            domain_text,
            other_text,
            threshold: config.threshold,
            descriptions: HashMap::new(),
        };
        Ok(filter.with_domains(&SafetyDomain::all()))
    }

    /// Takes the descriptions from `domains`.
    #[must_use]
    pub fn with_domains(mut self, domains: &[SafetyDomain]) -> Self {
        let described = domains.iter().filter_map(|domain| {
            let description = domain.description.clone()?;
            Some((domain.name.clone(), description))
        });
        self.descriptions = described.collect();
        self
    }

    /// How similar each query is to `text` with its own domain filled in.
    fn cosines(
        &self,
        candidates: &[Candidate],
        queries: &Embeddings,
        text: &Template,
    ) -> Result<Vec<f64>, FilterError> {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        for candidate in candidates {
            numbers.entry(&candidate.domain).or_insert_with(|| {
                names.push(&candidate.domain);
                names.len() - 1
            });
        }
        let texts = names.iter().map(|name| {
            let description = self.descriptions.get(*name).map_or(*name, String::as_str);
            text.fill(&[("domain", name), ("description", description)])
        });
        let texts: Vec<String> = texts.collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let domains = Embeddings::new(&self.embedder, &texts, |index| {
            format!("domain {}", names.get(index).unwrap_or(&""))
        })?;
        let pairs = candidates.iter().zip(queries.rows());
        let cosines = pairs.map(|(candidate, row)| {
            let number = numbers.get(candidate.domain.as_str()).copied();
            f64::from(dot(row, domains.row(number.unwrap_or_default())))
        });
        Ok(cosines.collect())
    }
}

impl<E: Embedder> Filter for DomainRelevance<E> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, mut candidates: Vec<Candidate>) -> Result<Filtered, FilterError> {
        let queries = Embeddings::queries(&self.embedder, &candidates)?;
        let scores = self.cosines(&candidates, &queries, &self.domain_text)?;
        if let Some(text) = &self.other_text {
            let others = self.cosines(&candidates, &queries, text)?;
            for (candidate, other) in candidates.iter_mut().zip(others) {
                candidate.scores.insert(OTHER.to_owned(), other);
            }
        }

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
    fn a_description_takes_the_place_of_the_name_and_both_are_reported() {
        let domains = [SafetyDomain::new("theft").with_description("robbing a shop")];
        let candidates = || {
            vec![
                Candidate::new("0", "theft", "theft"),
                Candidate::new("1", "theft", "robbing a shop"),
                Candidate::new("2", "weapons", "weapons"),
            ]
        };
        let apply = |config| {
            let filter = DomainRelevance::new(MockEmbedder::new(4096), config).unwrap();
            filter.with_domains(&domains).apply(candidates()).unwrap()
        };
        let ids =
            |out: &Filtered| -> Vec<String> { out.kept.iter().map(|c| c.id.clone()).collect() };
        let by_name = apply(DomainRelevanceConfig::default());
        assert_eq!(ids(&by_name), ["0", "2"]);
        let described = apply(DomainRelevanceConfig::descriptions(Threshold::Value(0.5)));
        assert_eq!(
            ids(&described),
            ["1", "2"],
            "without one, the name describes"
        );
        // What decides in one is reported beside in the other, of dropped candidates too.
        let (by_name, described) = (by_name.report(NAME), described.report(NAME));
        assert_eq!(by_name.scores, described.other_scores.get("other").copied());
        assert_eq!(described.scores, by_name.other_scores.get("other").copied());
        assert_eq!(by_name.scores.unwrap().num_scored, 3);
        let none = apply(DomainRelevanceConfig {
            other_text: None,
            ..Default::default()
        });
        assert!(none.report(NAME).other_scores.is_empty());
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
                ..Default::default()
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
