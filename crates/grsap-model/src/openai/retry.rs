use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How often and when a failed request is made again.
///
/// Tried again are broken connections, silence, broken-off answers, and the statuses 408, 425, 429
/// and 500 up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How often a request is made again.
    pub num_retries: usize,
    /// The longest pause after the first failure, in milliseconds. It doubles with each failure,
    /// and the pause is drawn evenly from nothing to it, so that many clients do not come back at
    /// once.
    pub base_ms: u64,
    /// Where doubling ends, in milliseconds.
    pub cap_ms: u64,
    /// The longest wait that a server may ask for, in milliseconds; beyond it the request fails.
    pub max_wait_ms: u64,
}

impl Default for RetryConfig {
    /// Eight times, within two minutes; a server may ask for five.
    fn default() -> Self {
        Self {
            num_retries: 8,
            base_ms: 500,
            cap_ms: 60_000,
            max_wait_ms: 300_000,
        }
    }
}

impl RetryConfig {
    /// The pause after failure number `failure`, counted from 0: exponential, with full jitter.
    pub(super) fn pause(&self, failure: usize, rng: &mut impl Rng) -> Duration {
        let doublings = u32::try_from(failure).unwrap_or(u32::MAX).min(62);
        let longest = self.base_ms.saturating_mul(1_u64 << doublings);
        let longest = longest.min(self.cap_ms);
        Duration::from_millis(rng.random_range(0..=longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_drawn_from_all_of_it() {
        let retry = RetryConfig::default();
        for failure in 0..100 {
            let mut rng = grsap_core::rng(1, "test", &[]);
            let longest = (500_u128 << failure.min(20)).min(60_000);
            let pauses: Vec<u128> = (0..500)
                .map(|_| retry.pause(failure, &mut rng).as_millis())
                .collect();
            assert!(pauses.iter().all(|&pause| pause <= longest));
            let mean = pauses.iter().sum::<u128>() / 500;
            assert!(
                (longest * 4 / 10..longest * 6 / 10).contains(&mean),
                "{mean}"
            );
        }
        let again = |_| retry.pause(3, &mut grsap_core::rng(5, "test", &[b"a"]));
        assert_eq!([0, 1].map(again)[0], again(2));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let retry = RetryConfig {
            base_ms: u64::MAX,
            cap_ms: 3,
            ..Default::default()
        };
        let mut rng = grsap_core::rng(1, "test", &[]);
        assert!(retry.pause(usize::MAX, &mut rng) <= Duration::from_millis(3));
    }
}
