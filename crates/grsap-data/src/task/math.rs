use grsap_core::Message;
use serde::{Deserialize, Serialize};

use super::math_answer::{last_boxed, math_answers_equal, normalise_math_answer};
use super::{TaskFormat, TaskRow};

/// Competition problems with an answer in `\boxed{}`.
///
/// # Examples
///
/// ```
/// use grsap_data::{Math, TaskFormat, TaskRow};
///
/// let row = TaskRow::new("Half of one?", "It is $\\boxed{\\frac{1}{2}}$.");
/// let math = Math::default();
/// assert_eq!(math.score(&row, "Half: $\\boxed{1/2}$"), Some(true));
/// assert_eq!(math.score(&row, "\\boxed{2}"), Some(false));
/// assert_eq!(math.score(&row, "It is 1/2."), None);
/// ```
///
/// # Source
///
/// Hendrycks et al., MATH (arXiv 2103.03874). Two answers are compared as lm-evaluation-harness's
/// task `hendrycks_math` does; that task takes a response's answer from between its first and last
/// `$`, this format from its last `\boxed{}`, as its reference answers are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Math {
    /// Added to the problem after an empty line; nothing is added when it is empty.
    pub instruction: String,
}

impl Default for Math {
    fn default() -> Self {
        Self {
            instruction: "Work it out step by step and put the final answer in \\boxed{}.".into(),
        }
    }
}

impl TaskFormat for Math {
    fn name(&self) -> &'static str {
        "math"
    }

    fn prompt(&self, row: &TaskRow) -> Vec<Message> {
        let problem = row.question.trim();
        let text = if self.instruction.is_empty() {
            problem.to_owned()
        } else {
            format!("{problem}\n\n{}", self.instruction)
        };
        vec![Message::user(text)]
    }

    fn target(&self, row: &TaskRow) -> String {
        row.answer.trim().to_owned()
    }

    fn parse(&self, response: &str) -> Option<String> {
        let answer = last_boxed(response)?;
        Some(normalise_math_answer(answer).unwrap_or_else(|| answer.to_owned()))
    }

    fn score(&self, row: &TaskRow, response: &str) -> Option<bool> {
        Some(math_answers_equal(
            last_boxed(response)?,
            last_boxed(&row.answer)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let cases = [
            ("Thus $x = \\boxed{5}$.", Some("5")),
            ("**Answer:** \\boxed{\\dfrac{3}{4}}", Some("\\frac{3}{4}")),
            ("\\[\\boxed{x = 7}\\]", Some("7")),
            ("First \\boxed{1}. No: \\boxed{2}.", Some("2")),
            ("\\boxed{\\left(-\\infty, 2\\right]}", Some("(-\\infty,2]")),
            (
                "The final answer is $\\boxed{\\text{Tuesday}}$",
                Some("\\text{Tuesday}"),
            ),
            ("\\boxed{10\\text{ cm}}", Some("10")),
            ("\\boxed{a/b}", Some("a/b")),
            ("\\boxed{}", Some("")),
            ("The answer is 5.", None),
            ("#### 5", None),
            ("\\boxed{5", None),
            ("boxed{5}", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Math::default().parse(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_problem_comes_first() {
        let row = TaskRow::new(" P ", "S $\\boxed{1}$ ");
        let plain = Math {
            instruction: String::new(),
        };
        assert_eq!(plain.prompt(&row), [Message::user("P")]);
        assert!(
            Math::default().prompt(&row)[0]
                .content
                .starts_with("P\n\nWork")
        );
        assert_eq!(plain.record(&row).response(), Some("S $\\boxed{1}$"));
        let no_answer = TaskRow::new("P", "none");
        assert_eq!(plain.score(&no_answer, "\\boxed{1}"), None);
    }
}
