use serde::{Deserialize, Serialize};

use crate::DataError;

/// What stays fixed when replay is mixed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeControl {
    /// The number of rows in all: replay takes the place of task rows.
    #[default]
    Total,
    /// The number of task rows: replay comes on top, so that its share of all rows is less than the
    /// ratio (716 of 7884 for a tenth of 7168).
    Downstream,
}

/// How many rows of each kind a mixture has.
///
/// # Source
///
/// GR-SAP, stage 4: `int(ratio * N)` replay examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixPlan {
    /// Task rows.
    pub num_task: usize,
    /// Replay rows.
    pub num_replay: usize,
}

impl MixPlan {
    /// Plans `int(ratio * num_examples)` replay rows.
    ///
    /// # Errors
    ///
    /// [`DataError::Config`] when `num_examples` is 0, `ratio` is not in [0, 1], or is above 0 but too
    /// small for a single row: replay that is asked for is not left out unnoticed.
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_data::{MixPlan, SizeControl};
    ///
    /// let plan = MixPlan::new(7168, 0.1, SizeControl::Total)?;
    /// assert_eq!((plan.num_task, plan.num_replay), (6452, 716));
    /// let plan = MixPlan::new(7168, 0.1, SizeControl::Downstream)?;
    /// assert_eq!((plan.num_task, plan.num_replay), (7168, 716));
    /// # Ok::<(), grsap_data::DataError>(())
    /// ```
    pub fn new(
        num_examples: usize,
        ratio: f64,
        size_control: SizeControl,
    ) -> Result<Self, DataError> {
        if num_examples == 0 {
            return Err(config("num_examples", "at least 1", "0"));
        }
        if !(0.0..=1.0).contains(&ratio) {
            return Err(config("ratio", "in [0, 1]", ratio));
        }
        let num_replay = (ratio * num_examples as f64) as usize;
        if num_replay == 0 && ratio > 0.0 {
            let expected = "0, or enough for one row of replay";
            return Err(config(
                "ratio",
                expected,
                format!("{ratio} of {num_examples}"),
            ));
        }
        Ok(Self::with_replay(num_examples, num_replay, size_control))
    }

    /// Plans for replay rows to carry `token_ratio` of all target tokens, as well as the mean
    /// lengths foretell it. Ten rows in a hundred are far from a tenth of the loss where a task
    /// answer is one letter and a refusal is three hundred tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::Config`] when `num_examples` is 0, `token_ratio` is not in [0, 1), or a mean
    /// is not positive.
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_data::{MixPlan, SizeControl};
    ///
    /// // Replay answers are twice as long, so half as many rows do.
    /// let plan = MixPlan::by_tokens(90, 10.0, 20.0, 0.1, SizeControl::Downstream)?;
    /// assert_eq!((plan.num_task, plan.num_replay), (90, 5));
    /// # Ok::<(), grsap_data::DataError>(())
    /// ```
    pub fn by_tokens(
        num_examples: usize,
        mean_task_tokens: f64,
        mean_replay_tokens: f64,
        token_ratio: f64,
        size_control: SizeControl,
    ) -> Result<Self, DataError> {
        if num_examples == 0 {
            return Err(config("num_examples", "at least 1", "0"));
        }
        if !(0.0..1.0).contains(&token_ratio) {
            return Err(config("token_ratio", "in [0, 1)", token_ratio));
        }
        for (field, mean) in [
            ("mean_task_tokens", mean_task_tokens),
            ("mean_replay_tokens", mean_replay_tokens),
        ] {
            if !(mean.is_finite() && mean > 0.0) {
                return Err(config(field, "finite and above 0", mean));
            }
        }
        let wanted = token_ratio * num_examples as f64 * mean_task_tokens;
        // Solve replay tokens / all tokens = token_ratio for the number of replay rows.
        let per_row = match size_control {
            SizeControl::Downstream => (1.0 - token_ratio) * mean_replay_tokens,
            SizeControl::Total => {
                (1.0 - token_ratio) * mean_replay_tokens + token_ratio * mean_task_tokens
            }
        };
        let num_replay = (wanted / per_row).round() as usize;
        if num_replay == 0 && token_ratio > 0.0 {
            return Err(config(
                "token_ratio",
                "enough for one row of replay",
                token_ratio,
            ));
        }
        Ok(Self::with_replay(num_examples, num_replay, size_control))
    }

    fn with_replay(num_examples: usize, num_replay: usize, size_control: SizeControl) -> Self {
        let num_task = match size_control {
            SizeControl::Total => num_examples.saturating_sub(num_replay),
            SizeControl::Downstream => num_examples,
        };
        Self {
            num_task,
            num_replay,
        }
    }
}

fn config(field: &'static str, expected: &'static str, got: impl ToString) -> DataError {
    DataError::Config {
        field,
        expected,
        got: got.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_counts_like_int() {
        let cases = [
            (10, 0.0, SizeControl::Total, (10, 0)),
            (10, 0.19, SizeControl::Total, (9, 1)),
            (10, 1.0, SizeControl::Total, (0, 10)),
            (10, 1.0, SizeControl::Downstream, (10, 10)),
            (11, 0.1, SizeControl::Downstream, (11, 1)),
            // 0.29 * 100 is just below 29 in floating point; so it is in the paper's int().
            (100, 0.29, SizeControl::Downstream, (100, 28)),
        ];
        for (n, ratio, control, expected) in cases {
            let plan = MixPlan::new(n, ratio, control).unwrap();
            assert_eq!((plan.num_task, plan.num_replay), expected, "{n} {ratio}");
        }
    }

    #[test]
    fn bad_numbers_are_refused() {
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = MixPlan::new(10, ratio, SizeControl::Total).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("ratio must be in [0, 1], got {ratio}")
            );
        }
        assert!(MixPlan::new(0, 0.1, SizeControl::Total).is_err());
        let error = MixPlan::new(9, 0.1, SizeControl::Downstream).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ratio must be 0, or enough for one row of replay, got 0.1 of 9"
        );
        assert!(MixPlan::by_tokens(10, 1.0, 1.0, 1.0, SizeControl::Total).is_err());
        assert!(MixPlan::by_tokens(10, 0.0, 1.0, 0.1, SizeControl::Total).is_err());
        assert!(MixPlan::by_tokens(10, 1.0, f64::NAN, 0.1, SizeControl::Total).is_err());
    }

    #[test]
    fn token_plans_reach_the_share() {
        for control in [SizeControl::Total, SizeControl::Downstream] {
            let plan = MixPlan::by_tokens(10_000, 3.0, 40.0, 0.2, control).unwrap();
            let replay = plan.num_replay as f64 * 40.0;
            let share = replay / (replay + plan.num_task as f64 * 3.0);
            assert!((share - 0.2).abs() < 1e-3, "{control:?}: {share}");
        }
    }
}
