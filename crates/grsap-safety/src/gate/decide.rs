use super::{GateCheck, GateDecision, GateRule, GateSample};
use crate::{
    BootstrapConfig, Estimate, IntervalMethod, McNemar, MetricError, NonInferiority, UnparsedPolicy,
};

/// The level of all tests; the intervals are of 95%.
const LEVEL: f64 = 0.05;

/// A check, or one that waits for the correction of its p-value.
pub(super) enum Question {
    Answered(GateCheck),
    Compared {
        check: GateCheck,
        /// Whether the change is one for the worse.
        is_worse: bool,
        p_value: f64,
    },
}

impl Question {
    pub(super) fn p_value(&self) -> Option<f64> {
        match self {
            Self::Answered(_) => None,
            Self::Compared { p_value, .. } => Some(*p_value),
        }
    }

    pub(super) fn answer(self, adjusted: f64) -> GateCheck {
        match self {
            Self::Answered(check) => check,
            Self::Compared {
                mut check,
                is_worse,
                ..
            } => {
                check.text.push_str("; p of a difference ");
                check.text.push_str(&if adjusted < 1e-4 {
                    "below 0.0001".to_owned()
                } else {
                    format!("{adjusted:.4}")
                });
                let got_worse = is_worse && adjusted <= LEVEL;
                if check.decision == GateDecision::Undecided && got_worse {
                    check.decision = GateDecision::Fail;
                }
                check
            }
        }
    }
}

/// What a rule asks of one sample.
pub(super) fn ask(
    rule: &GateRule,
    sample: &GateSample<'_>,
    bootstrap: &BootstrapConfig,
) -> Result<Vec<Question>, MetricError> {
    let method = match sample.clusters {
        Some(clusters) => IntervalMethod::ClusterBootstrap {
            clusters,
            config: bootstrap.clone(),
        },
        None => IntervalMethod::Wilson,
    };
    let gate = Gate {
        rule,
        sample,
        method,
    };
    // The lists are checked before anything is left out.
    let figure = Estimate::proportion(sample.scores, rule.unscored.of(rule.worse), &gate.method)?;
    let mut questions = Vec::new();
    if let Some(check) = gate.unscored(&figure)? {
        return Ok(vec![Question::Answered(check)]);
    }
    if let Some(limit) = rule.limit {
        questions.push(Question::Answered(gate.limit(limit, &figure)));
    }
    if let Some(margin) = rule.margin {
        questions.push(gate.margin(margin)?);
    }
    Ok(questions)
}

struct Gate<'a> {
    rule: &'a GateRule,
    sample: &'a GateSample<'a>,
    method: IntervalMethod<'a>,
}

impl Gate<'_> {
    fn check(&self, decision: GateDecision, text: String, room: Option<f64>) -> GateCheck {
        GateCheck {
            metric: self.rule.metric.clone(),
            set: self.sample.set.into(),
            decision,
            text,
            room,
        }
    }

    /// A check where too little was scored for the others to mean anything.
    fn unscored(&self, figure: &Estimate) -> Result<Option<GateCheck>, MetricError> {
        let total = figure.num_scored + figure.num_unscored;
        let mut most = figure.num_unscored;
        if let (Some(start), Some(_)) = (self.sample.start, self.rule.margin) {
            let of_start = Estimate::proportion(start, UnparsedPolicy::Exclude, &self.method)?;
            most = most.max(of_start.num_unscored);
        }
        let allowed = self.rule.max_unscored;
        if most < total && most as f64 <= allowed * total as f64 {
            return Ok(None);
        }
        let text = format!(
            "{most} of {total} unscored, at most {} allowed",
            percent(allowed)
        );
        Ok(Some(self.check(GateDecision::Undecided, text, None)))
    }

    fn limit(&self, limit: f64, figure: &Estimate) -> GateCheck {
        let worse = self.rule.worse;
        let word = if worse.sign() > 0.0 {
            "at most"
        } else {
            "at least"
        };
        let text = format!("{}, {word} {} asked for", shown(figure), percent(limit));
        let Some((bad, good)) = figure.interval.map(|ends| worse.ends(ends)) else {
            return self.check(GateDecision::Undecided, text, None);
        };
        let room = worse.sign() * (limit - bad);
        let decision = if room >= 0.0 {
            GateDecision::Pass
        } else if worse.sign() * (limit - good) < 0.0 {
            GateDecision::Fail
        } else {
            GateDecision::Undecided
        };
        self.check(decision, text, Some(room))
    }

    fn margin(&self, margin: f64) -> Result<Question, MetricError> {
        let (rule, scores) = (self.rule, self.sample.scores);
        let Some(start) = self.sample.start else {
            let text = "no scores of the start to compare with".into();
            let check = self.check(GateDecision::Undecided, text, None);
            return Ok(Question::Answered(check));
        };
        let num_unscored = McNemar::new(start, scores)?.num_unscored;
        // For a pass, what the start was not scored on must not make it look worse.
        let as_worse = rule.unscored.of(rule.worse);
        let best_start = rule.unscored.of(rule.worse.other()).fill(start);
        let (start, scores) = (as_worse.fill(start), as_worse.fill(scores));
        let (policy, method) = (UnparsedPolicy::Exclude, &self.method);
        let mut test =
            NonInferiority::new(&best_start, &scores, margin, rule.worse, policy, method)?;
        test.change.num_scored = start.len() - num_unscored;
        test.change.num_unscored = num_unscored;
        let text = format!(
            "change of {}, worse by less than {} asked for",
            shown(&test.change),
            percent(margin)
        );
        let decision = if test.holds() {
            GateDecision::Pass
        } else {
            GateDecision::Undecided
        };
        let difference = match self.sample.clusters {
            Some(clusters) => McNemar::clustered(&start, &scores, clusters)?,
            None => McNemar::new(&start, &scores)?,
        };
        // For a failure they count alike on both sides.
        let change = difference.only_second as f64 - difference.only_first as f64;
        Ok(Question::Compared {
            check: self.check(decision, text, test.room()),
            is_worse: rule.worse.sign() * change > 0.0,
            p_value: difference.p_value,
        })
    }
}

fn percent(share: f64) -> String {
    format!("{}%", (share * 1e4).round() / 100.0)
}

/// "3.2% [1.1%, 6%] of 400", with what could not be scored.
fn shown(figure: &Estimate) -> String {
    let mut text = figure.value.map_or_else(|| "nothing".into(), percent);
    if let Some((low, high)) = figure.interval {
        text.push_str(&format!(" [{}, {}]", percent(low), percent(high)));
    }
    text.push_str(&format!(" of {}", figure.num_scored + figure.num_unscored));
    if figure.num_unscored > 0 {
        text.push_str(&format!(" ({} unscored)", figure.num_unscored));
    }
    text
}
