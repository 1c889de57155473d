use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::mauve::buckets;
use super::{Features, MauveConfig};
use crate::MetricError;

/// Draws of labels that the chance level is the mean of.
const NUM_SHUFFLES: usize = 20;

/// How far synthetic exchanges are from the original ones, and whether that lies with the queries or with
/// the responses.
///
/// Queries are cut into clusters, and so are responses; an exchange is then a pair of clusters. For such
/// pairs the chain rule holds exactly: the divergence of the exchanges is that of the queries plus the
/// mean divergence of the responses to queries of one cluster. Numbers estimated from few exchanges
/// are too large. So the level of chance stands beside each: the mean where the labels "original" and
/// "synthetic" were shuffled. A figure near it says that no difference was seen.
///
/// # Source
///
/// GR-SAP (arXiv 2603.10243), which bounds the loss of safety by this sum; Krichevsky, Trofimov (1981) for the
/// half count; Lin, Divergence measures based on the Shannon entropy (1991).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainRule {
    /// KL(original, synthetic), with half an exchange added to each cluster of queries and, within it,
    /// to each cluster of responses.
    pub kl: Split,
    /// What `kl` would be for sets that differ by chance.
    pub kl_by_chance: Split,
    /// The Jensen-Shannon divergence: the mean of both sets' KL from their middle. At most ln 2, and it
    /// needs nothing added.
    pub js: Split,
    /// What `js` would be for sets that differ by chance.
    pub js_by_chance: Split,
    /// Clusters of the queries, and as many of the responses.
    pub num_buckets: usize,
}

/// A divergence in nats, in two parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Of the queries.
    pub queries: f64,
    /// Of the responses given the query.
    pub responses: f64,
}

impl Split {
    /// Of the exchanges: the sum of both.
    pub fn total(&self) -> f64 {
        self.queries + self.responses
    }

    fn add_share(&mut self, other: Self, share: f64) {
        self.queries += share * other.queries;
        self.responses += share * other.responses;
    }
}

/// Queries and responses of one set; row `i` of both is exchange `i`.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeFeatures<'a> {
    /// Of the queries.
    pub queries: Features<'a>,
    /// Of the responses.
    pub responses: Features<'a>,
}

impl ExchangeFeatures<'_> {
    fn check(&self) -> Result<usize, MetricError> {
        let (expected, got) = (self.queries.num_rows(), self.responses.num_rows());
        if expected == got {
            return Ok(expected);
        }
        Err(MetricError::Length {
            what: "responses to the queries",
            expected,
            got,
        })
    }
}

impl ChainRule {
    /// Compares two sets of exchanges.
    ///
    /// Clusters are found as for MAUVE, and there are as many pairs of them as MAUVE has clusters: the
    /// root of a tenth of the smaller set for queries and for responses, at least 2;
    /// `num_buckets` overrides that.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for queries without responses, rows of different lengths, or a setting that is
    /// out of range.
    pub fn new(
        original: ExchangeFeatures<'_>,
        synthetic: ExchangeFeatures<'_>,
        config: &MauveConfig,
    ) -> Result<Self, MetricError> {
        config.check()?;
        let (num_p, num_q) = (original.check()?, synthetic.check()?);
        let root = (num_p.min(num_q) as f64 / 10.0).sqrt().round() as usize;
        let num_buckets = MauveConfig {
            num_buckets: Some(config.num_buckets.unwrap_or(root.max(2))),
            ..config.clone()
        }
        .buckets_for(num_p, num_q)?;
        original.queries.check_same_dim(&synthetic.queries)?;
        original.responses.check_same_dim(&synthetic.responses)?;
        let clusters = |p, q| {
            let (mut of_p, of_q, _) = buckets(p, q, num_buckets, config)?;
            of_p.extend(of_q);
            Ok::<_, MetricError>(of_p)
        };
        let queries = clusters(original.queries, synthetic.queries)?;
        let responses = clusters(original.responses, synthetic.responses)?;
        let pairs: Vec<[usize; 2]> = queries
            .into_iter()
            .zip(responses)
            .map(|(query, response)| [query, response])
            .collect();
        Ok(Self::of_pairs(pairs, num_p, num_buckets, config.seed))
    }

    /// The first `num_p` pairs of clusters against the others.
    fn of_pairs(mut pairs: Vec<[usize; 2]>, num_p: usize, num_buckets: usize, seed: u64) -> Self {
        let estimate = |pairs: &[[usize; 2]]| {
            let (p, q) = pairs.split_at(num_p.min(pairs.len()));
            let (p, q) = (Table::new(p, num_buckets), Table::new(q, num_buckets));
            (kl(&p, &q), js(&p, &q))
        };
        let (kl, js) = estimate(&pairs);
        let (mut kl_by_chance, mut js_by_chance) = (Split::default(), Split::default());
        // The level of chance does not depend on the order of the rows.
        pairs.sort_unstable();
        for shuffle in 0..NUM_SHUFFLES {
            let part = (shuffle as u64).to_le_bytes();
            let mut rng = grsap_core::rng(seed, "safety.chain_rule", &[&part]);
            let mut shuffled = pairs.clone();
            for last in (1..shuffled.len()).rev() {
                shuffled.swap(last, rng.random_range(0..=last));
            }
            let (kl, js) = estimate(&shuffled);
            kl_by_chance.add_share(kl, 1.0 / NUM_SHUFFLES as f64);
            js_by_chance.add_share(js, 1.0 / NUM_SHUFFLES as f64);
        }
        Self {
            kl,
            kl_by_chance,
            js,
            js_by_chance,
            num_buckets,
        }
    }
}

/// Exchanges of one set by the clusters of query and response.
struct Table {
    /// A row of counts for each cluster of queries.
    rows: Vec<Vec<f64>>,
    total: f64,
}

impl Table {
    fn new(pairs: &[[usize; 2]], num_buckets: usize) -> Self {
        let mut rows = vec![vec![0.0; num_buckets]; num_buckets];
        for [query, response] in pairs {
            let count = rows.get_mut(*query).and_then(|row| row.get_mut(*response));
            if let Some(count) = count {
                *count += 1.0;
            }
        }
        Self {
            rows,
            total: pairs.len() as f64,
        }
    }
}

fn kl(p: &Table, q: &Table) -> Split {
    let mut split = Split::default();
    let shares = |count: f64, total: f64, num: usize| (count + 0.5) / (total + 0.5 * num as f64);
    for (row_p, row_q) in p.rows.iter().zip(&q.rows) {
        let (sum_p, sum_q) = (row_p.iter().sum(), row_q.iter().sum());
        let of_p = shares(sum_p, p.total, p.rows.len());
        let of_q = shares(sum_q, q.total, q.rows.len());
        split.queries += of_p * (of_p / of_q).ln();
        for (count_p, count_q) in row_p.iter().zip(row_q) {
            let within_p = shares(*count_p, sum_p, row_p.len());
            let within_q = shares(*count_q, sum_q, row_q.len());
            split.responses += of_p * within_p * (within_p / within_q).ln();
        }
    }
    split
}

fn js(p: &Table, q: &Table) -> Split {
    let mut split = Split::default();
    // Half of the KL from the middle, where `x` has this share and the other set that.
    let half = |x: f64, other: f64| {
        if x == 0.0 {
            0.0
        } else {
            0.5 * x * (2.0 * x / (x + other)).ln()
        }
    };
    for (row_p, row_q) in p.rows.iter().zip(&q.rows) {
        let of_p = row_p.iter().sum::<f64>() / p.total;
        let of_q = row_q.iter().sum::<f64>() / q.total;
        let of_queries = half(of_p, of_q) + half(of_q, of_p);
        split.queries += of_queries;
        let both = row_p.iter().zip(row_q).map(|(count_p, count_q)| {
            let (p, q) = (count_p / p.total, count_q / q.total);
            half(p, q) + half(q, p)
        });
        split.responses += both.sum::<f64>() - of_queries;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(n: usize, response: impl Fn(usize) -> usize) -> Vec<[usize; 2]> {
        (0..n).map(|i| [i % 3, response(i)]).collect()
    }

    #[test]
    fn equal_sets_are_below_chance() {
        let mut both = pairs(300, |i| i % 4 % 3);
        both.extend(both.clone());
        let split = ChainRule::of_pairs(both, 300, 3, 1);
        for part in [split.kl, split.js] {
            assert!(part.queries.abs() < 1e-12 && part.responses.abs() < 1e-12);
        }
        assert!(split.kl_by_chance.queries > 0.0 && split.js_by_chance.responses > 0.0);
    }

    #[test]
    fn the_difference_is_found_where_it_is() {
        // The same queries, other responses.
        let mut both = pairs(300, |_| 0);
        both.extend(pairs(300, |i| if i % 2 == 0 { 0 } else { 1 }));
        let split = ChainRule::of_pairs(both, 300, 3, 1);
        assert!(split.kl.queries.abs() < 1e-12 && split.js.queries.abs() < 1e-12);
        assert!(split.kl.responses > 10.0 * split.kl_by_chance.responses);
        assert!(split.js.responses > 10.0 * split.js_by_chance.responses);
        // Other queries, the same responses to each.
        let mut both = pairs(300, |i| i % 3);
        both.extend((0..300).map(|i| [i % 3 * (i % 2), i % 3 * (i % 2)]));
        let split = ChainRule::of_pairs(both, 300, 3, 1);
        assert!(split.kl.queries > 10.0 * split.kl_by_chance.queries);
        assert!(split.js.queries > 10.0 * split.js_by_chance.queries);
        assert!(split.js.responses.abs() < 1e-12, "{split:?}");
        assert!(split.kl.responses < 0.05, "{split:?}");
    }

    #[test]
    fn disjoint_sets_are_ln_2_apart() {
        let mut both = vec![[0, 0]; 50];
        both.extend(vec![[1, 1]; 70]);
        let split = ChainRule::of_pairs(both, 50, 2, 1);
        assert!((split.js.queries - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((split.js.total() - std::f64::consts::LN_2).abs() < 1e-12);
    }

    #[test]
    fn the_parts_sum_to_the_divergence_of_the_pairs() {
        let mut both = pairs(500, |i| i % 7 % 3);
        both.extend((0..400).map(|i| [i % 5 % 3, i % 11 % 3]));
        let (p, q) = both.split_at(500);
        let (p, q) = (Table::new(p, 3), Table::new(q, 3));
        // With the pairs as one variable, by the definition.
        let cells = || p.rows.iter().flatten().zip(q.rows.iter().flatten());
        let js_of_pairs: f64 = cells()
            .map(|(a, b)| {
                let (a, b) = (a / p.total, b / q.total);
                let middle = (a + b) / 2.0;
                let part = |x: f64| {
                    if x > 0.0 {
                        0.5 * x * (x / middle).ln()
                    } else {
                        0.0
                    }
                };
                part(a) + part(b)
            })
            .sum();
        assert!((js(&p, &q).total() - js_of_pairs).abs() < 1e-12);
        // Smoothed shares of both factors make one joint distribution.
        let joint = |table: &Table| -> Vec<f64> {
            let of_row = |row: &Vec<f64>| {
                let sum: f64 = row.iter().sum();
                let query = (sum + 0.5) / (table.total + 1.5);
                row.iter()
                    .map(|count| query * (count + 0.5) / (sum + 1.5))
                    .collect::<Vec<_>>()
            };
            table.rows.iter().flat_map(of_row).collect()
        };
        let (of_p, of_q) = (joint(&p), joint(&q));
        assert!((of_p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let kl_of_pairs: f64 = of_p.iter().zip(&of_q).map(|(a, b)| a * (a / b).ln()).sum();
        assert!((kl(&p, &q).total() - kl_of_pairs).abs() < 1e-12);
    }

    #[test]
    fn features_that_do_not_fit_are_errors() {
        let values = [0.5; 8];
        let two = Features::new(&values, 2).unwrap();
        let four = Features::new(&values, 4).unwrap();
        let good = ExchangeFeatures {
            queries: two,
            responses: two,
        };
        let bad = ExchangeFeatures {
            queries: two,
            responses: four,
        };
        let config = MauveConfig::default();
        assert!(ChainRule::new(good, good, &config).is_ok());
        let error = ChainRule::new(good, bad, &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "responses to the queries: expected 4 entries, got 2"
        );
    }
}
