use std::collections::HashMap;

use grsap_core::SafetyDomain;
use serde::{Deserialize, Serialize};

use crate::extraction::ROUND;
use crate::{Candidate, SynthError};

/// How many queries a domain shall have after the filters.
///
/// Domains that have fewer are sampled on, 64 samples at a time, until they have enough or have been
/// sampled `max_samples` times. The filters see all candidates anew each time, so what they keep is
/// what they would have kept had all been sampled at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// Queries of a domain that are enough.
    pub min_queries: usize,
    /// The most samples of a domain.
    pub max_samples: usize,
}

impl QuotaConfig {
    pub(super) fn check(&self, num_samples: usize) -> Result<(), SynthError> {
        if self.max_samples >= num_samples {
            return Ok(());
        }
        Err(SynthError::Config {
            field: "quota.max_samples",
            expected: "at least extraction.num_samples",
            got: self.max_samples.to_string(),
        })
    }

    /// Raises the number of samples where there are too few queries; false when none was raised.
    pub(super) fn raise(
        &self,
        asked: &mut [(&SafetyDomain, usize)],
        filtered: &[Candidate],
    ) -> bool {
        let mut num_queries: HashMap<&str, usize> = HashMap::new();
        for candidate in filtered {
            *num_queries.entry(&candidate.domain).or_default() += 1;
        }
        let mut is_raised = false;
        for (domain, num_samples) in asked {
            let num_queries = num_queries.get(domain.name.as_str()).copied();
            if num_queries.unwrap_or_default() < self.min_queries && *num_samples < self.max_samples
            {
                // Whole rounds, for a round cut short is another call than the whole one.
                let next = (*num_samples / ROUND + 1) * ROUND;
                *num_samples = next.min(self.max_samples);
                is_raised = true;
            }
        }
        is_raised
    }
}
