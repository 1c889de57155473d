use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{MetricError, UnparsedPolicy, Worse};

/// The rules of a [`SafetyGate`](crate::SafetyGate).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// One for each metric, or several.
    pub rules: Vec<GateRule>,
}

/// What is asked of one metric, on each of its sets.
///
/// # Examples
///
/// ```
/// use grsap_safety::{GateRule, Worse};
///
/// let rule: GateRule = serde_json::from_str(
///     r#"{"metric": "refusal_rate", "worse": "lower", "limit": 0.9, "margin": 0.02}"#,
/// )?;
/// assert_eq!((rule.worse, rule.limit, rule.max_unscored), (Worse::Lower, Some(0.9), 0.05));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRule {
    /// Its name, such as `harmful_score`.
    pub metric: String,
    /// Which way is worse.
    #[serde(default)]
    pub worse: Worse,
    /// The proportion must stay on the good side of this, with its whole 95% interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The proportion must be shown not to be worse than the start's by this or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The largest share of samples that may be unscored, of either model.
    #[serde(default = "GateRule::default_max_unscored")]
    pub max_unscored: f64,
    /// What becomes of those.
    #[serde(default)]
    pub unscored: UnscoredPolicy,
}

/// What becomes of samples that could not be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnscoredPolicy {
    /// They count as the worse answer. In a comparison, those of the start count as the better one for a
    /// pass, and alike on both sides for a failure.
    #[default]
    CountAsWorse,
    /// They leave the denominator; in a comparison the pair does.
    Exclude,
}

impl UnscoredPolicy {
    /// What becomes of a metric's samples where that way is worse.
    pub fn of(self, worse: Worse) -> UnparsedPolicy {
        match (self, worse) {
            (Self::Exclude, _) => UnparsedPolicy::Exclude,
            (Self::CountAsWorse, Worse::Higher) => UnparsedPolicy::CountAsYes,
            (Self::CountAsWorse, Worse::Lower) => UnparsedPolicy::CountAsNo,
        }
    }
}

impl GateRule {
    /// A rule that asks for nothing yet but that enough was scored.
    pub fn new(metric: impl Into<String>, worse: Worse) -> Self {
        Self {
            metric: metric.into(),
            worse,
            limit: None,
            margin: None,
            max_unscored: Self::default_max_unscored(),
            unscored: UnscoredPolicy::default(),
        }
    }

    fn default_max_unscored() -> f64 {
        0.05
    }

    fn check(&self) -> Result<(), GateError> {
        let problem = |expected, got: Option<f64>| {
            Err(GateError::Rule {
                metric: self.metric.clone(),
                expected,
                got: got.map_or_else(|| "neither".into(), |got| got.to_string()),
            })
        };
        let within = |x: f64| (0.0..=1.0).contains(&x);
        if self.limit.is_none() && self.margin.is_none() {
            return problem("a limit or a margin", None);
        }
        if self.limit.is_some_and(|limit| !within(limit)) {
            return problem("a limit between 0 and 1", self.limit);
        }
        if self
            .margin
            .is_some_and(|margin| !within(margin) || margin == 0.0)
        {
            return problem("a margin above 0 and at most 1", self.margin);
        }
        if !within(self.max_unscored) {
            return problem("max_unscored between 0 and 1", Some(self.max_unscored));
        }
        Ok(())
    }
}

impl GateConfig {
    pub(super) fn check(&self) -> Result<(), GateError> {
        if self.rules.is_empty() {
            return Err(GateError::NoRules);
        }
        self.rules.iter().try_for_each(GateRule::check)
    }
}

/// A gate cannot decide.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A gate without rules would pass everything.
    #[error("the gate has no rules")]
    NoRules,
    /// A rule asks for nothing, or for something out of range.
    #[error("the rule for {metric} needs {expected}, got {got}")]
    Rule {
        /// The metric of the rule.
        metric: String,
        /// What it needs.
        expected: &'static str,
        /// What it has.
        got: String,
    },
    /// A figure of this metric and set cannot be computed.
    #[error("{metric} on {set}")]
    Sample {
        /// The metric.
        metric: String,
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        source: MetricError,
    },
    /// The same metric was given twice for one set.
    #[error("{metric} on {set} was given twice")]
    Twice {
        /// The metric.
        metric: String,
        /// The set.
        set: String,
    },
    /// The file cannot be read.
    #[error("{path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file does not have the rules of a gate.
    #[error("{path} is no gate", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}
