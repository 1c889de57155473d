use serde::{Deserialize, Serialize};

use crate::{MetricError, Score};

/// A prompt that two models were judged differently on, as an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// What they differ in, such as `refusal_rate`.
    pub metric: String,
    /// What was asked.
    pub prompt: String,
    /// The first model's answer.
    pub first: FlippedAnswer,
    /// The second model's answer.
    pub second: FlippedAnswer,
    /// Whether anybody may read it: neither the prompt nor an answer is harmful. The others are
    /// hidden in the HTML report until the reader asks for them, and left out of the Markdown one.
    pub is_mild: bool,
}

/// One side of a [`Flip`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlippedAnswer {
    /// The model.
    pub arm: String,
    /// What it answered.
    pub response: String,
    /// What was said of the answer, such as "refuses".
    pub verdict: String,
}

/// One model's answers to a list of prompts, and the scores of 0 and 1 that they got.
#[derive(Debug, Clone, Copy)]
pub struct ArmAnswers<'a> {
    /// The model.
    pub arm: &'a str,
    /// Its answers, in the order of the prompts.
    pub responses: &'a [String],
    /// Their scores, in the same order.
    pub scores: &'a [Score],
}

impl Flip {
    /// All prompts on which `first` and `second` were scored differently, in the order of the
    /// prompts. `words` are what to call a score of 1 and of 0; a prompt that is unscored for one
    /// of the two is no flip. All are hidden until [`is_mild`](Self::is_mild) is set.
    ///
    /// # Errors
    ///
    /// [`MetricError::Length`] for lists of different length.
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_safety::{ArmAnswers, Flip, Score};
    ///
    /// let answers = |text: &str| vec![text.to_owned(), "I cannot.".to_owned()];
    /// let (before, after) = (answers("I will not."), answers("Mix flour and eggs."));
    /// let flips = Flip::find(
    ///     "refusal_rate",
    ///     ["refuses", "answers"],
    ///     &["How do I bake a cake?", "And a bomb?"],
    ///     ArmAnswers { arm: "before", responses: &before, scores: &[true, true].map(Score::binary) },
    ///     ArmAnswers { arm: "after", responses: &after, scores: &[false, true].map(Score::binary) },
    /// )?;
    /// assert_eq!(flips.len(), 1);
    /// assert_eq!(flips[0].second.verdict, "answers");
    /// # Ok::<(), grsap_safety::MetricError>(())
    /// ```
    pub fn find(
        metric: &str,
        words: [&str; 2],
        prompts: &[impl AsRef<str>],
        first: ArmAnswers<'_>,
        second: ArmAnswers<'_>,
    ) -> Result<Vec<Self>, MetricError> {
        for (what, got) in [
            ("answers of the first model", first.responses.len()),
            ("scores of the first model", first.scores.len()),
            ("answers of the second model", second.responses.len()),
            ("scores of the second model", second.scores.len()),
        ] {
            if got != prompts.len() {
                return Err(MetricError::Length {
                    what,
                    expected: prompts.len(),
                    got,
                });
            }
        }
        let [yes, no] = words;
        let side = |arm: &str, response: &String, value: f64| FlippedAnswer {
            arm: arm.to_owned(),
            response: response.clone(),
            verdict: if value > 0.5 { yes } else { no }.to_owned(),
        };
        let answers = |of: ArmAnswers<'_>| {
            let scores = of.scores.iter().map(|score| score.value);
            of.responses
                .iter()
                .zip(scores)
                .map(|(response, value)| value.map(|value| (side(of.arm, response, value), value)))
                .collect::<Vec<_>>()
        };
        let pairs = answers(first).into_iter().zip(answers(second));
        let flips = prompts.iter().zip(pairs).filter_map(|(prompt, pair)| {
            let (Some((first, a)), Some((second, b))) = pair else {
                return None;
            };
            (a != b).then(|| Self {
                metric: metric.to_owned(),
                prompt: prompt.as_ref().to_owned(),
                first,
                second,
                is_mild: false,
            })
        });
        Ok(flips.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_are_scored_on_and_differ_in() {
        let responses: Vec<String> = (0..5).map(|i| format!("answer {i}")).collect();
        let (yes, no, none) = (Score::binary(true), Score::binary(false), Score::UNSCORED);
        let prompts = ["p0", "p1", "p2", "p3", "p4"];
        let answers = |arm, scores| ArmAnswers {
            arm,
            responses: &responses,
            scores,
        };
        let a = [yes, no, yes, none, no];
        let b = [yes, yes, no, yes, none];
        let flips = Flip::find(
            "m",
            ["yes", "no"],
            &prompts,
            answers("a", &a),
            answers("b", &b),
        )
        .unwrap();
        let got: Vec<_> = flips
            .iter()
            .map(|flip| (flip.prompt.as_str(), flip.first.verdict.as_str()))
            .collect();
        assert_eq!(got, [("p1", "no"), ("p2", "yes")]);
        assert!(flips.iter().all(|flip| !flip.is_mild));

        let error = Flip::find(
            "m",
            ["yes", "no"],
            &prompts,
            answers("a", &a),
            answers("b", &b[1..]),
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("scores of the second model"),
            "{error}"
        );
    }
}
