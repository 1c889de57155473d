use crate::report::{Decision, Outcome, Reason};
use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What a gate or one of its checks says. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    /// Shown to be within the bounds.
    Pass,
    /// Neither shown to be within the bounds nor to be outside: too few samples, too many of them
    /// unscored, or no figure at all.
    Undecided,
    /// Shown to be outside.
    Fail,
}

impl fmt::Display for GateDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Undecided => "undecided",
            Self::Fail => "fail",
        })
    }
}

/// One question to one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCheck {
    /// The metric.
    pub metric: String,
    /// The set; empty where no set has the metric.
    pub set: String,
    /// The answer.
    pub decision: GateDecision,
    /// The question and the figures, for a reader.
    pub text: String,
    /// How far the worst that the figure's interval allows is from the bound, as a share of
    /// samples; negative outside. `None` where there is no figure.
    pub room: Option<f64>,
}

/// What a gate decided, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// The worst of all checks.
    pub decision: GateDecision,
    /// The check that decided: of those with the decision the one with the least room.
    pub decided_by: usize,
    /// All checks, in the order of the rules and samples.
    pub checks: Vec<GateCheck>,
}

impl GateReport {
    /// `None` without checks: nothing was asked, so nothing can be said.
    pub(super) fn new(checks: Vec<GateCheck>) -> Option<Self> {
        let room = |check: &GateCheck| check.room.unwrap_or(f64::NEG_INFINITY);
        // Of equals the first.
        let (decided_by, check) = checks.iter().enumerate().reduce(|worst, new| {
            let order = new.1.decision.cmp(&worst.1.decision);
            let order = order.then(room(worst.1).total_cmp(&room(new.1)));
            if order.is_gt() { new } else { worst }
        })?;
        Some(Self {
            decision: check.decision,
            decided_by,
            checks,
        })
    }

    /// The check that decided.
    pub fn deciding(&self) -> Option<&GateCheck> {
        self.checks.get(self.decided_by)
    }

    /// For the shell: 0 for a pass, 1 for a failure, 2 where nothing could be decided.
    pub fn code(&self) -> u8 {
        match self.decision {
            GateDecision::Pass => 0,
            GateDecision::Fail => 1,
            GateDecision::Undecided => 2,
        }
    }

    /// The same, to be returned from `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// The decision and what decided, and then every check on a line.
impl fmt::Display for GateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.decision)?;
        if let Some(GateCheck {
            metric, set, text, ..
        }) = self.deciding()
        {
            let place = if set.is_empty() { "" } else { " on " };
            write!(f, ", decided by {metric}{place}{set}: {text}")?;
        }
        for check in &self.checks {
            let GateCheck {
                metric,
                set,
                decision,
                text,
                ..
            } = check;
            write!(f, "\n{decision:<9}  {metric}  {set}  {text}")?;
        }
        Ok(())
    }
}

impl From<GateDecision> for Outcome {
    fn from(decision: GateDecision) -> Self {
        match decision {
            GateDecision::Pass => Self::Pass,
            GateDecision::Undecided => Self::Undecided,
            GateDecision::Fail => Self::Fail,
        }
    }
}

/// What a [`Report`](crate::Report) says first; the check that decided comes first there too.
///
/// ```
/// use grsap_safety::{Decision, GateConfig, GateRule, GateSample, Outcome, SafetyGate, Score, Worse};
///
/// let mut rule = GateRule::new("harmful_score", Worse::Higher);
/// rule.limit = Some(0.05);
/// let gate = SafetyGate::new(GateConfig { rules: vec![rule] })?;
/// let scores = vec![Score::binary(true); 40];
/// let report = gate.decide(&[GateSample::new("harmful_score", "held-out prompts", &scores)])?;
/// let decision = Decision::from(&report);
/// assert_eq!(decision.outcome, Outcome::Fail);
/// assert!(decision.summary.contains("harmful_score on held-out prompts"));
/// assert_eq!(decision.reasons.len(), 1);
/// # Ok::<(), grsap_safety::GateError>(())
/// ```
impl From<&GateReport> for Decision {
    fn from(report: &GateReport) -> Self {
        let first = report.deciding();
        let rest = report.checks.iter().enumerate();
        let rest = rest.filter(|(place, _)| *place != report.decided_by);
        let checks = first.into_iter().chain(rest.map(|(_, check)| check));
        let named = |check: &GateCheck| match check.set.is_empty() {
            true => check.metric.clone(),
            false => format!("{} on {}", check.metric, check.set),
        };
        Self {
            outcome: report.decision.into(),
            summary: match first {
                Some(check) => format!("Decided by {}.", named(check)),
                None => "Nothing was asked.".into(),
            },
            reasons: checks
                .map(|check| {
                    let text = format!("{}: {}", named(check), check.text);
                    Reason::new(check.decision.into(), text)
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(decision: GateDecision, room: Option<f64>) -> GateCheck {
        GateCheck {
            metric: "harmful_score".into(),
            set: "a".into(),
            decision,
            text: "why".into(),
            room,
        }
    }

    #[test]
    fn the_worst_check_with_the_least_room_decides() {
        use GateDecision::{Fail, Pass, Undecided};
        for (checks, decided_by, code) in [
            (
                vec![(Pass, Some(0.3)), (Pass, Some(0.1)), (Pass, Some(0.2))],
                1,
                0,
            ),
            (
                vec![
                    (Pass, Some(0.1)),
                    (Undecided, Some(-0.1)),
                    (Undecided, None),
                ],
                2,
                2,
            ),
            (
                vec![(Undecided, None), (Fail, Some(-0.1)), (Fail, Some(-0.2))],
                2,
                1,
            ),
            (vec![(Pass, Some(0.1)), (Pass, Some(0.1))], 0, 0),
        ] {
            let checks = checks.into_iter().map(|(d, room)| check(d, room));
            let report = GateReport::new(checks.collect()).unwrap();
            assert_eq!((report.decided_by, report.code()), (decided_by, code));
            assert_eq!(report.deciding().unwrap().decision, report.decision);
        }
        assert_eq!(GateReport::new(Vec::new()), None);
    }

    #[test]
    fn it_is_readable() {
        let report = GateReport::new(vec![check(GateDecision::Pass, Some(0.1))]).unwrap();
        assert_eq!(
            report.to_string(),
            "pass, decided by harmful_score on a: why\npass       harmful_score  a  why"
        );
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.starts_with(r#"{"decision":"pass","decided_by":0,"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<GateReport>(&json).unwrap(), report);
    }
}
