use grsap_core::{Embedder, Exchange};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{ChainRule, ExchangeFeatures, Features, Mauve, MauveConfig, Neighbours};
use crate::MetricError;

/// How [`Similarity`] is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimilarityConfig {
    /// The most exchanges of either set; of more, so many are drawn. 10,000 in GR-SAP.
    pub max_exchanges: usize,
    /// Texts that the embedder is given at a time.
    pub batch_size: usize,
    /// The neighbour that the balls of [`Neighbours`] reach to.
    pub num_neighbours: usize,
    /// Of MAUVE and the chain rule. Its seed fixes the draw, too.
    pub mauve: MauveConfig,
}

impl Default for SimilarityConfig {
    fn default() -> Self {
        Self {
            max_exchanges: 10_000,
            batch_size: 256,
            num_neighbours: 5,
            mauve: MauveConfig::default(),
        }
    }
}

/// How close synthetic alignment data are to original ones.
///
/// # Examples
///
/// ```
/// use grsap_core::Exchange;
/// use grsap_core::mock::MockEmbedder;
/// use grsap_safety::{Similarity, SimilarityConfig};
///
/// let queries: Vec<String> = (0..60).map(|i| format!("How is number {} written?", i % 30)).collect();
/// let exchange = |query| Exchange { prompt: query, response: "I will not say." };
/// let all: Vec<Exchange<'_>> = queries.iter().map(|query| exchange(query.as_str())).collect();
/// let (original, synthetic) = all.split_at(30);
/// let embedder = MockEmbedder::new(64);
/// let similarity =
///     Similarity::measure(&embedder, original, synthetic, &SimilarityConfig::default())?;
/// assert!(similarity.queries.mauve > 0.99);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// GR-SAP, stage 6: MAUVE with scaling factor 2 on at most 10,000 texts a side, of the queries and of the exchanges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    /// Original exchanges that were compared.
    pub num_original: usize,
    /// Synthetic ones.
    pub num_synthetic: usize,
    /// MAUVE of the queries.
    pub queries: Mauve,
    /// MAUVE of the exchanges, each as one text of query and response.
    pub exchanges: Mauve,
    /// The divergence of the exchanges, in a part of the queries and one of the responses.
    pub chain_rule: ChainRule,
    /// Nearest neighbours among the queries; the original ones are the real ones.
    pub neighbours: Neighbours,
}

impl Similarity {
    /// Embeds and compares two sets of exchanges.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for too few exchanges, a setting out of range, or an embedder that fails or
    /// returns something else than one vector for each text.
    pub fn measure(
        embedder: &impl Embedder,
        original: &[Exchange<'_>],
        synthetic: &[Exchange<'_>],
        config: &SimilarityConfig,
    ) -> Result<Self, MetricError> {
        for (field, value) in [
            ("max_exchanges", config.max_exchanges),
            ("batch_size", config.batch_size),
        ] {
            if value == 0 {
                return Err(MetricError::Config {
                    field,
                    expected: "at least 1",
                    got: "0".into(),
                });
            }
        }
        config.mauve.check()?;
        let original = draw(original, "original", config);
        let synthetic = draw(synthetic, "synthetic", config);
        let original = Embedded::new(embedder, &original, config)?;
        let synthetic = Embedded::new(embedder, &synthetic, config)?;
        let (p, q) = (original.features()?, synthetic.features()?);
        Ok(Self {
            num_original: p.queries.num_rows(),
            num_synthetic: q.queries.num_rows(),
            queries: Mauve::new(p.queries, q.queries, &config.mauve)?,
            exchanges: Mauve::new(
                original.whole.features()?,
                synthetic.whole.features()?,
                &config.mauve,
            )?,
            chain_rule: ChainRule::new(p, q, &config.mauve)?,
            neighbours: Neighbours::new(p.queries, q.queries, config.num_neighbours)?,
        })
    }
}

/// At most so many of the exchanges, in their order.
fn draw<'a>(exchanges: &[Exchange<'a>], set: &str, config: &SimilarityConfig) -> Vec<Exchange<'a>> {
    let mut wanted = config.max_exchanges.min(exchanges.len());
    let mut rng = grsap_core::rng(config.mauve.seed, "safety.similarity", &[set.as_bytes()]);
    let mut drawn = Vec::with_capacity(wanted);
    for (at, exchange) in exchanges.iter().enumerate() {
        // Each has the chance that is left, so that exactly the wanted number is drawn.
        if rng.random_range(0..exchanges.len() - at) < wanted {
            drawn.push(*exchange);
            wanted -= 1;
        }
    }
    drawn
}

struct Vectors {
    values: Vec<f32>,
    dim: usize,
}

impl Vectors {
    fn new(
        embedder: &impl Embedder,
        texts: &[String],
        batch_size: usize,
    ) -> Result<Self, MetricError> {
        let dim = embedder.dim();
        let mut values = Vec::with_capacity(texts.len() * dim);
        for batch in texts.chunks(batch_size) {
            let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
            let rows = embedder.embed(&batch)?;
            if rows.len() != batch.len() * dim {
                return Err(MetricError::Length {
                    what: "values of the embedded texts",
                    expected: batch.len() * dim,
                    got: rows.len(),
                });
            }
            values.extend(rows);
        }
        Ok(Self { values, dim })
    }

    fn features(&self) -> Result<Features<'_>, MetricError> {
        Features::new(&self.values, self.dim)
    }
}

struct Embedded {
    queries: Vectors,
    responses: Vectors,
    whole: Vectors,
}

impl Embedded {
    fn new(
        embedder: &impl Embedder,
        exchanges: &[Exchange<'_>],
        config: &SimilarityConfig,
    ) -> Result<Self, MetricError> {
        let embed = |text: fn(&Exchange<'_>) -> String| {
            let texts: Vec<String> = exchanges.iter().map(text).collect();
            Vectors::new(embedder, &texts, config.batch_size)
        };
        Ok(Self {
            queries: embed(|exchange| exchange.prompt.to_owned())?,
            responses: embed(|exchange| exchange.response.to_owned())?,
            whole: embed(|exchange| {
                format!("USER: {} ASSISTANT: {}", exchange.prompt, exchange.response)
            })?,
        })
    }

    fn features(&self) -> Result<ExchangeFeatures<'_>, MetricError> {
        Ok(ExchangeFeatures {
            queries: self.queries.features()?,
            responses: self.responses.features()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use grsap_core::ModelError;
    use grsap_core::mock::MockEmbedder;

    use super::*;

    fn exchange(text: &str) -> Exchange<'_> {
        let (prompt, response) = text.split_once('|').unwrap();
        Exchange { prompt, response }
    }

    fn exchanges(texts: &[String]) -> Vec<Exchange<'_>> {
        texts.iter().map(|text| exchange(text)).collect()
    }

    #[test]
    fn it_tells_queries_from_responses() {
        let topics = ["bread", "kites", "rivers", "clocks"];
        let text = |i: usize, answer: &str| {
            let topic = topics[i % 4];
            format!("tell me about {topic} number {}|{answer} {topic}", i / 4)
        };
        let original: Vec<String> = (0..80).map(|i| text(i, "no talk of")).collect();
        let other: Vec<String> = (0..80).map(|i| text(i, "gladly here are some")).collect();
        let embedder = MockEmbedder::new(128);
        let config = SimilarityConfig::default();
        let found = Similarity::measure(
            &embedder,
            &exchanges(&original),
            &exchanges(&other),
            &config,
        )
        .unwrap();
        assert!(found.queries.mauve > 0.999, "{found:?}");
        assert!(found.exchanges.mauve < found.queries.mauve);
        let split = found.chain_rule;
        assert!(split.js.queries < 1e-9 && split.js.responses > 2.0 * split.js_by_chance.responses);
        assert_eq!(found.neighbours.precision, 1.0);
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Similarity>(&json).unwrap(), found);
    }

    #[test]
    fn no_more_than_asked_for_are_drawn_and_always_the_same() {
        let texts: Vec<String> = (0..100).map(|i| format!("{i}|yes")).collect();
        let all = exchanges(&texts);
        let config = SimilarityConfig {
            max_exchanges: 30,
            ..Default::default()
        };
        let drawn = draw(&all, "original", &config);
        assert_eq!(drawn.len(), 30);
        assert_eq!(draw(&all, "original", &config), drawn);
        assert_ne!(draw(&all, "synthetic", &config), drawn);
        assert_eq!(draw(&all[..20], "original", &config), all[..20]);
    }

    #[test]
    fn an_embedder_that_miscounts_is_an_error() {
        struct Short;
        impl Embedder for Short {
            fn dim(&self) -> usize {
                4
            }

            fn embed(&self, _: &[&str]) -> Result<Vec<f32>, ModelError> {
                Ok(vec![1.0; 4])
            }
        }
        let texts: Vec<String> = (0..9).map(|i| format!("{i}|yes")).collect();
        let all = exchanges(&texts);
        let error = Similarity::measure(&Short, &all, &all, &SimilarityConfig::default());
        assert_eq!(
            error.unwrap_err().to_string(),
            "values of the embedded texts: expected 36 entries, got 4"
        );
        let embedder = MockEmbedder::new(8);
        let error = Similarity::measure(&embedder, &[], &all, &SimilarityConfig::default());
        assert!(matches!(error, Err(MetricError::Empty { .. })));
    }
}
