use serde::{Deserialize, Serialize};

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// The data cannot tell.
    Undecided,
}

impl Outcome {
    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Undecided => "undecided",
        }
    }
}

/// What a report says first: whether the model may be published, and why.
///
/// It is plain data: whatever decides fills it in.
///
/// # Examples
///
/// ```
/// use grsap_safety::{Decision, Outcome, Reason, Report};
///
/// let mut report = Report::new("a small model", 7);
/// report.decision = Some(Decision {
///     outcome: Outcome::Fail,
///     summary: "The tuned model refuses less than its start.".into(),
///     reasons: vec![Reason::new(Outcome::Fail, "refusal: 40 of 100 prompts lost, 2 won")],
/// });
/// assert!(report.to_markdown().contains("**Fail.** The tuned model refuses less"));
/// let lines = report.decision.map(|decision| decision.to_string()).unwrap_or_default();
/// assert!(lines.ends_with("\n  fail: refusal: 40 of 100 prompts lost, 2 won"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// A sentence for people.
    pub summary: String,
    /// What was looked at; what decided comes first.
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// For a terminal: the outcome, the sentence, and a line for each reason.
impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.outcome.as_str(), self.summary)?;
        for reason in &self.reasons {
            write!(f, "\n  {}: {}", reason.outcome.as_str(), reason.text)?;
        }
        Ok(())
    }
}

/// One figure that a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What it speaks for.
    pub outcome: Outcome,
    /// The figure, its interval and its limit, in words.
    pub text: String,
}

impl Reason {
    /// A reason in words.
    pub fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self {
            outcome,
            text: text.into(),
        }
    }
}
