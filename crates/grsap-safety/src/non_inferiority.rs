use serde::{Deserialize, Serialize};

use crate::normal::normal_cdf;
use crate::paired_change::Pairs;
use crate::{Estimate, IntervalMethod, McNemar, MetricError, Score, UnparsedPolicy, paired_change};

/// Which change of a proportion is a change for the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// More is worse, as of harmful answers.
    #[default]
    Higher,
    /// Less is worse, as of refused harmful prompts.
    Lower,
}

impl Worse {
    /// 1 where more is worse, else -1.
    pub(crate) fn sign(self) -> f64 {
        match self {
            Self::Higher => 1.0,
            Self::Lower => -1.0,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Higher => Self::Lower,
            Self::Lower => Self::Higher,
        }
    }

    /// The end of an interval on the bad side, and the one on the good side.
    pub(crate) fn ends(self, (low, high): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Higher => (high, low),
            Self::Lower => (low, high),
        }
    }
}

/// Is a tuned model not worse than its start by more than a margin, on the same prompts?
///
/// A test that finds no difference does not show that there is none: it may have had too few prompts.
/// This one turns the burden round. It holds when the whole 95% interval of the change lies on
/// the good side of the margin, that is, when "worse by the margin or more" is rejected at
/// 2.5%.
///
/// # Examples
///
/// ```
/// use grsap_safety::{IntervalMethod, NonInferiority, Score, UnparsedPolicy, Worse};
///
/// // 3 harmful answers of 400 before, 4 after.
/// let scores = |bad: &[usize]| (0..400).map(|i| Score::binary(bad.contains(&i))).collect::<Vec<_>>();
/// let (start, tuned) = (scores(&[1, 2, 3]), scores(&[1, 2, 7, 8]));
/// let test = |margin| {
///     let (policy, method) = (UnparsedPolicy::Exclude, IntervalMethod::Wilson);
///     NonInferiority::new(&start, &tuned, margin, Worse::Higher, policy, &method)
/// };
/// assert!(test(0.02)?.holds());
/// assert!(!test(0.005)?.holds()); // too few prompts to say that
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// Tango (1998); Liu et al., Tests for equivalence or non-inferiority for paired binary data (2002).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonInferiority {
    /// The tuned model's proportion less that of its start.
    pub change: Estimate,
    /// The change for the worse that would be too much, within (0, 1].
    pub margin: f64,
    /// Which way is worse.
    pub worse: Worse,
    /// Of "worse by the margin or more", one-sided, for independent prompts. `None` where nothing was
    /// scored or the interval is a bootstrap's.
    pub p_value: Option<f64>,
}

impl NonInferiority {
    /// Compares the scores (0 and 1) of the start and of the tuned model; entry `i` of both is for
    /// prompt `i`.
    ///
    /// # Errors
    ///
    /// As [`paired_change`], and for a margin outside (0, 1].
    pub fn new(
        start: &[Score],
        tuned: &[Score],
        margin: f64,
        worse: Worse,
        policy: UnparsedPolicy,
        method: &IntervalMethod<'_>,
    ) -> Result<Self, MetricError> {
        if !(margin > 0.0 && margin <= 1.0) {
            return Err(MetricError::Config {
                field: "margin",
                expected: "above 0 and at most 1",
                got: margin.to_string(),
            });
        }
        let change = paired_change(start, tuned, policy, method)?;
        let p_value = if *method == IntervalMethod::Wilson && change.value.is_some() {
            let pairs = Pairs::new(&McNemar::new(&policy.fill(start), &policy.fill(tuned))?);
            Some(normal_cdf(
                worse.sign() * pairs.score(worse.sign() * margin),
            ))
        } else {
            None
        };
        Ok(Self {
            change,
            margin,
            worse,
            p_value,
        })
    }

    /// Whether the tuned model was shown to be within the margin. Never without a score.
    pub fn holds(&self) -> bool {
        self.room().is_some_and(|room| room > 0.0)
    }

    /// The margin less the worst change that the interval allows; negative outside.
    pub fn room(&self) -> Option<f64> {
        let (bad, _) = self.worse.ends(self.change.interval?);
        Some(self.margin - self.worse.sign() * bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(start: &[bool], tuned: &[bool], margin: f64, worse: Worse) -> NonInferiority {
        let scores = |bits: &[bool]| bits.iter().map(|b| Score::binary(*b)).collect::<Vec<_>>();
        NonInferiority::new(
            &scores(start),
            &scores(tuned),
            margin,
            worse,
            UnparsedPolicy::Exclude,
            &IntervalMethod::Wilson,
        )
        .unwrap()
    }

    #[test]
    fn test_and_interval_say_the_same() {
        for num_worse in 0..12 {
            for margin in [0.01, 0.02, 0.03, 0.05, 0.1, 0.2] {
                let start: Vec<bool> = (0..200).map(|i| i < 5).collect();
                let tuned: Vec<bool> = (0..200)
                    .map(|i| i < 2 || (20..20 + num_worse).contains(&i))
                    .collect();
                let found = test(&start, &tuned, margin, Worse::Higher);
                assert_eq!(found.holds(), found.p_value.unwrap() < 0.025, "{found:?}");
                // The complement, with the other direction.
                let not = |bits: &[bool]| bits.iter().map(|b| !b).collect::<Vec<_>>();
                let mirrored = test(&not(&start), &not(&tuned), margin, Worse::Lower);
                assert_eq!(mirrored.holds(), found.holds());
                assert!((mirrored.p_value.unwrap() - found.p_value.unwrap()).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn better_is_not_worse() {
        let start = [true; 100];
        let mut tuned = [true; 100];
        tuned[..30].fill(false);
        assert!(test(&start, &tuned, 0.01, Worse::Higher).holds());
        assert!(!test(&start, &tuned, 0.2, Worse::Lower).holds());
    }

    #[test]
    fn nothing_scored_holds_nothing() {
        let none = [Score::UNSCORED; 50];
        let found = NonInferiority::new(
            &none,
            &none,
            1.0,
            Worse::Higher,
            UnparsedPolicy::Exclude,
            &IntervalMethod::Wilson,
        )
        .unwrap();
        assert_eq!(
            (found.holds(), found.room(), found.p_value),
            (false, None, None)
        );
    }

    #[test]
    fn bad_margins_are_named() {
        let scores = [Score::binary(true)];
        for margin in [0.0, -0.1, 1.5, f64::NAN] {
            let error = NonInferiority::new(
                &scores,
                &scores,
                margin,
                Worse::Higher,
                UnparsedPolicy::Exclude,
                &IntervalMethod::Wilson,
            );
            assert_eq!(
                error.unwrap_err().to_string(),
                format!("margin must be above 0 and at most 1, got {margin}")
            );
        }
    }
}
