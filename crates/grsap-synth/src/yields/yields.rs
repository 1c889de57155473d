use std::collections::{BTreeMap, HashMap};

use super::{picture, table};
use crate::{Rejected, ReplayBuffer, ScoreSummary};

/// What became of the candidates of each domain, as a table and as a picture.
///
/// # Examples
///
/// ```
/// use grsap_synth::{BufferInfo, Candidate, Rejected, ReplayBuffer};
///
/// let dropped = Rejected::new("dedup", "duplicate", Some(0.9), Candidate::new("00-0000", "theft", "q"));
/// let buffer = ReplayBuffer::new(vec![], vec![dropped], BufferInfo::default())?;
/// let yields = buffer.yields();
/// assert_eq!(yields.domains[0].num_samples, 1);
/// assert!(yields.to_markdown().contains("| dedup | duplicate | 1 | 100.0 |"));
/// assert!(yields.to_svg().starts_with("<svg"));
/// # Ok::<(), grsap_synth::BufferError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Yields {
    /// The stages that can drop candidates, in order.
    pub stages: Vec<String>,
    /// In the order in which they were asked about.
    pub domains: Vec<DomainYield>,
    /// How many candidates fell, by stage and reason, in the order of the stages.
    pub reasons: Vec<(String, String, usize)>,
    /// The distributions of the scores, by what was measured.
    pub scores: Vec<(String, ScoreSummary)>,
}

/// What became of the candidates of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainYield {
    /// The domain.
    pub domain: String,
    /// Candidates in all.
    pub num_samples: usize,
    /// Candidates that each of [`Yields::stages`] dropped.
    pub num_dropped: Vec<usize>,
    /// Rows with a first answer that is safe.
    pub num_easy: usize,
    /// Rows with a revised answer that is safe.
    pub num_hard: usize,
    /// Rows that stayed unsafe and are not trained on.
    pub num_unsafe: usize,
}

impl DomainYield {
    fn new(domain: &str, num_stages: usize) -> Self {
        Self {
            domain: domain.to_owned(),
            num_samples: 0,
            num_dropped: vec![0; num_stages],
            num_easy: 0,
            num_hard: 0,
            num_unsafe: 0,
        }
    }

    /// Rows to train on.
    pub fn num_trainable(&self) -> usize {
        self.num_easy + self.num_hard
    }

    /// Rows to train on for each candidate; `None` without candidates.
    pub fn yield_ratio(&self) -> Option<f64> {
        (self.num_samples > 0).then(|| self.num_trainable() as f64 / self.num_samples as f64)
    }
}

impl Yields {
    pub(crate) fn new(buffer: &ReplayBuffer) -> Self {
        let mut stages: Vec<String> = buffer.stages().iter().map(|s| s.name.clone()).collect();
        for rejected in buffer.rejected() {
            if !stages.contains(&rejected.stage) {
                stages.push(rejected.stage.clone());
            }
        }
        let mut reasons: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        let mut domains: HashMap<&str, (usize, DomainYield)> = HashMap::new();
        let number = |name: &str| stages.iter().position(|stage| stage == name);
        let mut of = |id: &str, domain, add: &mut dyn FnMut(&mut DomainYield)| {
            let place = place(id);
            let new = || (place, DomainYield::new(domain, stages.len()));
            let (first, found) = domains.entry(domain).or_insert_with(new);
            *first = (*first).min(place);
            found.num_samples += 1;
            add(found);
        };
        for row in buffer.examples() {
            of(&row.id, &row.domain, &mut |found| {
                *match (row.is_safe, row.is_hard()) {
                    (false, _) => &mut found.num_unsafe,
                    (true, true) => &mut found.num_hard,
                    (true, false) => &mut found.num_easy,
                } += 1;
            });
        }
        for rejected in buffer.rejected() {
            let stage = number(&rejected.stage).unwrap_or_default();
            *reasons.entry((stage, &rejected.reason)).or_default() += 1;
            let Rejected { candidate, .. } = rejected;
            of(&candidate.id, &candidate.domain, &mut |found| {
                if let Some(dropped) = found.num_dropped.get_mut(stage) {
                    *dropped += 1;
                }
            });
        }
        let mut domains: Vec<(usize, DomainYield)> = domains.into_values().collect();
        domains.sort_by(|(a, x), (b, y)| (a, &x.domain).cmp(&(b, &y.domain)));
        let mut scores = Vec::new();
        for stage in buffer.stages() {
            scores.extend(stage.scores.map(|summary| (stage.name.clone(), summary)));
            let others = stage.other_scores.iter();
            scores.extend(others.map(|(key, summary)| (format!("{}.{key}", stage.name), *summary)));
        }
        Self {
            domains: domains.into_iter().map(|(_, domain)| domain).collect(),
            reasons: reasons
                .into_iter()
                .filter_map(|((stage, reason), num)| {
                    Some((stages.get(stage)?.clone(), reason.to_owned(), num))
                })
                .collect(),
            scores,
            stages,
        }
    }

    /// All domains together.
    pub fn total(&self) -> DomainYield {
        let mut total = DomainYield::new("all", self.stages.len());
        for domain in &self.domains {
            total.num_samples += domain.num_samples;
            total.num_easy += domain.num_easy;
            total.num_hard += domain.num_hard;
            total.num_unsafe += domain.num_unsafe;
            for (sum, dropped) in total.num_dropped.iter_mut().zip(&domain.num_dropped) {
                *sum += dropped;
            }
        }
        total
    }

    /// Tables of the domains, of the reasons and of the scores, in Markdown.
    pub fn to_markdown(&self) -> String {
        table::render(self)
    }

    /// A bar for each domain, in SVG.
    pub fn to_svg(&self) -> String {
        picture::render(self)
    }
}

/// The domain's number, which the ids of a synthesis begin with; other ids come last.
fn place(id: &str) -> usize {
    let number = id.split_once('-').map(|(number, _)| number.parse());
    number.and_then(Result::ok).unwrap_or(usize::MAX)
}
