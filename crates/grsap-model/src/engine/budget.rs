use grsap_core::{ModelError, SamplingParams};

use super::config::EngineConfig;

/// How many rows of keys and values there are, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget {
    /// Samples at a time; each has `max_new_tokens` rows.
    pub(super) max_batch: usize,
    /// Rows for prompts.
    pub(super) prompt_rows: usize,
}

impl Budget {
    /// Rows for the most that can be active at once: so many samples, and one prompt more than have
    /// samples running. Less where the memory is short; at least for one sample of any prompt.
    ///
    /// # Errors
    ///
    /// [`ModelError::TooLong`] names the first prompt that does not fit `context` tokens or the
    /// memory.
    pub(super) fn new(
        prompts: &[usize],
        params: &SamplingParams,
        config: &EngineConfig,
        context: usize,
        bytes_per_row: usize,
    ) -> Result<Self, ModelError> {
        let new_tokens = params.max_new_tokens;
        let bytes = config.max_memory.unwrap_or(usize::MAX);
        let rows = bytes / bytes_per_row.max(1);
        let limit = context.min(rows).saturating_sub(new_tokens);
        for (index, &num_tokens) in prompts.iter().enumerate() {
            if num_tokens == 0 {
                let reason = "the prompt has no tokens".into();
                return Err(ModelError::InvalidInput { index, reason });
            }
            if num_tokens > limit {
                return Err(ModelError::TooLong {
                    index,
                    num_tokens,
                    limit,
                });
            }
        }
        let mut longest = prompts.to_vec();
        longest.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = config.max_batch.min(prompts.len() * params.n).max(1);
        let rows_of = |batch: usize| longest.iter().take(batch + 1).sum::<usize>();
        let fits = |batch: &usize| {
            let samples = batch.saturating_mul(new_tokens);
            samples.saturating_add(rows_of(*batch)) <= rows
        };
        Ok(match (1..=wanted).rev().find(fits) {
            Some(max_batch) => Self {
                max_batch,
                prompt_rows: rows_of(max_batch),
            },
            // The next prompt waits until the one that is there is done.
            None => Self {
                max_batch: 1,
                prompt_rows: longest.first().copied().unwrap_or(0),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::SamplingConfig;

    fn budget(
        prompts: &[usize],
        n: usize,
        max_memory: Option<usize>,
    ) -> Result<Budget, ModelError> {
        let config = SamplingConfig {
            n,
            max_new_tokens: 10,
            ..Default::default()
        };
        let engine = EngineConfig {
            max_batch: 4,
            max_memory,
            ..Default::default()
        };
        let params = SamplingParams::new(config).unwrap();
        Budget::new(prompts, &params, &engine, 100, 8)
    }

    #[test]
    fn memory_bounds_the_rows() {
        let prompts = [20, 30, 25, 5, 7, 6];
        let rows = |budget: &Budget| budget.prompt_rows + 10 * budget.max_batch;
        let all = budget(&prompts, 1, None).unwrap();
        assert_eq!((all.max_batch, all.prompt_rows), (4, 30 + 25 + 20 + 7 + 6));
        for bytes in (8 * 40..8 * 140).step_by(4) {
            let budget = budget(&prompts, 1, Some(bytes)).unwrap();
            assert!(8 * rows(&budget) <= bytes, "{bytes}: {budget:?}");
            assert!(budget.prompt_rows >= 30 && budget.max_batch >= 1);
        }
        // Two prompts that take turns, and three samples at a time.
        let three = budget(&[30, 30], 8, Some(8 * 95)).unwrap();
        assert_eq!((three.max_batch, three.prompt_rows), (3, 60));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = budget(&[20, 30, 31], 1, Some(8 * 40)).unwrap_err();
        assert_eq!(error.to_string(), "input 2 has 31 tokens, the limit is 30");
        let error = budget(&[90, 91], 1, None).unwrap_err();
        assert_eq!(error.to_string(), "input 1 has 91 tokens, the limit is 90");
        assert!(budget(&[3, 0], 1, None).is_err());
    }

    #[test]
    fn few_samples_need_few_places() {
        assert_eq!(budget(&[20], 2, None).unwrap().max_batch, 2);
        assert_eq!(budget(&[], 2, None).unwrap().prompt_rows, 0);
    }
}
