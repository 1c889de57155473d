use crate::MetricError;
use crate::mcnemar::exact_p_value;
use crate::normal::{normal_cdf, normal_quantile};
use crate::paired_change::Pairs;

/// The most prompts that are looked at for an answer.
const MOST: usize = 10_000_000;

/// The most prompts of a paired study, whose power is summed over all outcomes.
const MOST_PAIRED: usize = 200_000;

/// What is expected of a comparison, to find out how many prompts it takes.
///
/// # Examples
///
/// ```
/// use grsap_safety::Study;
///
/// // From 5% to 10% harmful answers, on other prompts for each model.
/// let unpaired = Study::Unpaired { first: 0.05, second: 0.10 };
/// assert_eq!(unpaired.num_prompts(0.8, 0.05)?, 435);
/// // On the same prompts, where 1% get better and 6% worse.
/// let paired = Study::Paired { only_first: 0.01, only_second: 0.06 };
/// assert!(paired.num_prompts(0.8, 0.05)? < 260);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Study {
    /// Two proportions on prompts of their own: the two-sided z test with the pooled variance. The number
    /// is of prompts for each model.
    Unpaired {
        /// The first model's proportion.
        first: f64,
        /// The second model's.
        second: f64,
    },
    /// The same prompts for both models: [`McNemar`](crate::McNemar)'s exact test, over all outcomes.
    Paired {
        /// The share of prompts with a yes from the first model alone.
        only_first: f64,
        /// The share with a yes from the second model alone.
        only_second: f64,
    },
    /// The same prompts for both models: to show that the second proportion is not higher by the margin or more,
    /// with the test of [`NonInferiority`](crate::NonInferiority), over all outcomes.
    ///
    /// It is a one-sided test: the interval of 95% goes with a level of 0.025.
    NonInferiority {
        /// The share of prompts with a yes from the first model alone.
        only_first: f64,
        /// The share with a yes from the second model alone.
        only_second: f64,
        /// The increase that would be too much.
        margin: f64,
    },
}

impl Study {
    /// The chance that the test with this level finds what it is after, with so many prompts.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for shares that are none, or a level outside (0, 1).
    ///
    /// # Source
    ///
    /// The unpaired one is statsmodels' `power_proportions_2indep`; the paired ones are their definition.
    pub fn power(&self, num_prompts: usize, level: f64) -> Result<f64, MetricError> {
        self.check(level)?;
        Ok(match *self {
            Self::Unpaired { first, second } => unpaired(first, second, num_prompts as f64, level),
            Self::Paired {
                only_first,
                only_second,
            } => paired(only_first, only_second, num_prompts, level),
            Self::NonInferiority {
                only_first,
                only_second,
                margin,
            } => non_inferiority(only_first, only_second, margin, num_prompts, level),
        })
    }

    /// The fewest prompts with at least this power.
    ///
    /// The power of an exact test does not grow quite steadily; the answer is a number whose predecessor is
    /// not enough, found by halving.
    ///
    /// # Errors
    ///
    /// As [`Study::power`], for a power outside (0, 1), and where no number of prompts would do.
    pub fn num_prompts(&self, power: f64, level: f64) -> Result<usize, MetricError> {
        check_share("power", power)?;
        let is_enough = |n: usize| Ok::<bool, MetricError>(self.power(n, level)? >= power);
        let most = match self {
            Self::Unpaired { .. } => MOST,
            Self::Paired { .. } | Self::NonInferiority { .. } => MOST_PAIRED,
        };
        let (mut too_few, mut enough) = (0, 2);
        while !is_enough(enough)? {
            too_few = enough;
            enough *= 2;
            if too_few >= most {
                return Err(MetricError::Config {
                    field: "the expected change",
                    expected: "one that a test can find",
                    got: format!("{self:?}"),
                });
            }
        }
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            if is_enough(middle)? {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Ok(enough)
    }

    fn check(&self, level: f64) -> Result<(), MetricError> {
        check_share("level", level)?;
        let (shares, sum) = match *self {
            Self::Unpaired { first, second } => ([first, second], 0.0),
            Self::Paired {
                only_first,
                only_second,
            } => ([only_first, only_second], only_first + only_second),
            Self::NonInferiority {
                only_first,
                only_second,
                margin,
            } => {
                check_share("margin", margin)?;
                ([only_first, only_second], only_first + only_second)
            }
        };
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        if shares.into_iter().all(is_share) && is_share(sum) {
            return Ok(());
        }
        Err(MetricError::Config {
            field: "the expected shares",
            expected: "between 0 and 1, together as well where they are of the same prompts",
            got: format!("{shares:?}"),
        })
    }
}

fn check_share(field: &'static str, value: f64) -> Result<(), MetricError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(MetricError::Config {
        field,
        expected: "between 0 and 1",
        got: value.to_string(),
    })
}

fn unpaired(first: f64, second: f64, n: f64, level: f64) -> f64 {
    let pooled = (first + second) / 2.0;
    let if_equal = (2.0 * pooled * (1.0 - pooled)).sqrt();
    let spread = (first * (1.0 - first) + second * (1.0 - second)).sqrt();
    let critical = normal_quantile(1.0 - level / 2.0) * if_equal;
    let shift = (second - first) * n.sqrt();
    if spread == 0.0 {
        return f64::from(u8::from(shift.abs() > critical));
    }
    normal_cdf((shift - critical) / spread) + normal_cdf((-shift - critical) / spread)
}

/// Over the number of pairs that differ, and then over how they fall.
fn paired(only_first: f64, only_second: f64, n: usize, level: f64) -> f64 {
    let discordant = only_first + only_second;
    if discordant == 0.0 {
        return 0.0;
    }
    let of_second = (only_second / discordant).clamp(0.0, 1.0);
    let discordant = discordant.min(1.0);
    // The critical value never falls when a pair is added.
    let mut fewest = 0;
    let mut power = 0.0;
    for m in likely(n, discordant) {
        // Outcomes with fewer than `fewest` on one side are significant.
        while 2 * fewest < m && exact_p_value(fewest, m - fewest) <= level {
            fewest += 1;
        }
        let tails: f64 = (0..fewest)
            .map(|k| binomial(k, m, of_second) + binomial(m - k, m, of_second))
            .sum();
        power += binomial(m, n, discordant) * tails;
    }
    power.min(1.0)
}

/// Over the numbers of pairs that change either way.
fn non_inferiority(only_first: f64, only_second: f64, margin: f64, n: usize, level: f64) -> f64 {
    let critical = normal_quantile(level);
    let of_rest = if only_second < 1.0 {
        (only_first / (1.0 - only_second)).min(1.0)
    } else {
        0.0
    };
    let mut power = 0.0;
    for second in likely(n, only_second) {
        let mut share = 0.0;
        for first in likely(n - second, of_rest) {
            let pairs = Pairs {
                only_first: first as f64,
                only_second: second as f64,
                num: n as f64,
            };
            if pairs.score(margin) < critical {
                share += binomial(first, n - second, of_rest);
            }
        }
        power += binomial(second, n, only_second) * share;
    }
    power.min(1.0)
}

/// All outcomes of `n` draws but those that are farther than ten standard deviations from the mean.
fn likely(n: usize, p: f64) -> std::ops::RangeInclusive<usize> {
    let mean = n as f64 * p;
    let reach = 10.0 * (mean * (1.0 - p)).sqrt() + 10.0;
    let low = (mean - reach).max(0.0) as usize;
    low..=((mean + reach) as usize).min(n)
}

/// P(X = k) for X binomial.
fn binomial(k: usize, n: usize, p: f64) -> f64 {
    let (k, n) = (k as f64, n as f64);
    if p <= 0.0 || p >= 1.0 {
        let certain = if p <= 0.0 { 0.0 } else { n };
        return f64::from(u8::from(k == certain));
    }
    let choices = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    (choices + k * p.ln() + (n - k) * (-p).ln_1p()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRED: Study = Study::Paired {
        only_first: 0.02,
        only_second: 0.08,
    };

    #[test]
    fn binomials_sum_to_one() {
        for p in [0.0, 0.3, 0.999, 1.0] {
            let sum: f64 = (0..=50).map(|k| binomial(k, 50, p)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{p}: {sum}");
        }
        let near: f64 = likely(5000, 0.01).map(|k| binomial(k, 5000, 0.01)).sum();
        assert!((near - 1.0).abs() < 1e-10);
    }

    #[test]
    fn the_answer_is_enough_and_one_fewer_is_not() {
        for study in [
            Study::Unpaired {
                first: 0.02,
                second: 0.06,
            },
            PAIRED,
            Study::NonInferiority {
                only_first: 0.02,
                only_second: 0.02,
                margin: 0.05,
            },
        ] {
            for target in [0.5, 0.8, 0.95] {
                let n = study.num_prompts(target, 0.05).unwrap();
                assert!(study.power(n, 0.05).unwrap() >= target, "{study:?}");
                assert!(study.power(n - 1, 0.05).unwrap() < target, "{study:?}");
            }
        }
    }

    #[test]
    fn without_a_change_the_power_is_at_most_the_level() {
        for n in [5, 20, 100, 400] {
            let power = |only_first: f64, only_second: f64| {
                let study = Study::Paired {
                    only_first,
                    only_second,
                };
                study.power(n, 0.05).unwrap()
            };
            assert!(power(0.1, 0.1) <= 0.05);
            assert!((power(0.02, 0.08) - power(0.08, 0.02)).abs() < 1e-12);
            assert_eq!(power(0.0, 0.0), 0.0);
        }
        let level = Study::Unpaired {
            first: 0.3,
            second: 0.3,
        };
        assert!((level.power(70, 0.05).unwrap() - 0.05).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_named() {
        let none = Study::Unpaired {
            first: 0.3,
            second: 0.3,
        };
        let error = none.num_prompts(0.8, 0.05).unwrap_err();
        assert!(error.to_string().contains("one that a test can find"));
        let error = PAIRED.num_prompts(1.0, 0.05).unwrap_err();
        assert_eq!(error.to_string(), "power must be between 0 and 1, got 1");
        assert!(PAIRED.power(10, 0.0).is_err());
        let study = Study::Paired {
            only_first: 0.7,
            only_second: 0.7,
        };
        assert!(study.power(10, 0.05).is_err());
        let study = Study::NonInferiority {
            only_first: 0.1,
            only_second: 0.1,
            margin: 0.0,
        };
        assert!(study.power(10, 0.05).is_err());
    }
}
