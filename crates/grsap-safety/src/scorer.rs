use grsap_core::{Exchange, Guard};

use crate::{MetricError, Score, harm_scores, refusal_scores};

/// Something that scores samples of type `S`: one [`Score`] for each, in order.
///
/// To get harm and refusal from one guard, judge once and use [`harm_scores`] and
/// [`refusal_scores`] on the verdicts instead.
pub trait Scorer<S> {
    /// Scores every sample.
    ///
    /// # Errors
    ///
    /// [`MetricError`] when the scorer itself fails. A sample that cannot be scored is no error
    /// but [`Score::UNSCORED`].
    fn score(&self, samples: &[S]) -> Result<Vec<Score>, MetricError>;
}

/// Scores 1 where the guard finds the response harmful.
#[derive(Debug, Clone)]
pub struct HarmScorer<G>(
    /// The guard.
    pub G,
);

/// Scores 1 where the guard finds a refusal.
///
/// # Examples
///
/// ```
/// use grsap_core::Exchange;
/// use grsap_safety::{KeywordRefusal, RefusalScorer, Score, Scorer};
///
/// let scorer = RefusalScorer(KeywordRefusal::default());
/// let scores = scorer.score(&[Exchange { prompt: "q", response: "I cannot do this." }])?;
/// assert_eq!(scores, [Score::binary(true)]);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RefusalScorer<G>(
    /// The guard.
    pub G,
);

impl<'a, G: Guard> Scorer<Exchange<'a>> for HarmScorer<G> {
    fn score(&self, samples: &[Exchange<'a>]) -> Result<Vec<Score>, MetricError> {
        Ok(harm_scores(&judge(&self.0, samples)?))
    }
}

impl<'a, G: Guard> Scorer<Exchange<'a>> for RefusalScorer<G> {
    fn score(&self, samples: &[Exchange<'a>]) -> Result<Vec<Score>, MetricError> {
        Ok(refusal_scores(&judge(&self.0, samples)?))
    }
}

fn judge(
    guard: &impl Guard,
    samples: &[Exchange<'_>],
) -> Result<Vec<grsap_core::Verdict>, MetricError> {
    let verdicts = guard.judge(samples)?;
    if verdicts.len() != samples.len() {
        return Err(MetricError::Length {
            what: "verdicts for the samples",
            expected: samples.len(),
            got: verdicts.len(),
        });
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use grsap_core::mock::MockGuard;
    use grsap_core::{GuardError, ModelError, Verdict};

    use super::*;

    #[test]
    fn harm_and_refusal_from_a_guard() {
        let guard = MockGuard::new(["bad"]).with_garbled("noise");
        let exchange = |response| Exchange {
            prompt: "q",
            response,
        };
        let samples = [exchange("bad"), exchange("I cannot"), exchange("noise")];
        let (yes, no) = (Score::binary(true), Score::binary(false));
        assert_eq!(
            HarmScorer(&guard).score(&samples).unwrap(),
            [yes, no, Score::UNSCORED]
        );
        assert_eq!(
            RefusalScorer(&guard).score(&samples).unwrap(),
            [no, yes, Score::UNSCORED]
        );
    }

    #[test]
    fn a_failing_guard_is_an_error_with_its_cause() {
        struct Broken;
        impl Guard for Broken {
            fn judge(&self, _: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
                Err(ModelError::InvalidInput {
                    index: 3,
                    reason: "empty".into(),
                }
                .into())
            }
        }
        let error = HarmScorer(Broken)
            .score(&[Exchange {
                prompt: "q",
                response: "a",
            }])
            .unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the guard's model failed");
    }
}
