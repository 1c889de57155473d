use grsap_core::{Exchange, Guard, GuardError, Safety, Verdict};

/// Several guards of which more than half must agree.
///
/// Half of all the guards, not only of those that gave an answer: where some could not tell, the
/// others need a clearer lead, and a tie is [`Safety::Unparsed`]. Harm and refusal are voted on
/// apart.
///
/// # Examples
///
/// ```
/// use grsap_core::{Exchange, Guard, Safety, mock::MockGuard};
/// use grsap_safety::MajorityVote;
///
/// let vote = MajorityVote::new(vec![
///     MockGuard::new(["trap"]),
///     MockGuard::new(["trap", "cheese"]),
///     MockGuard::new(["mouse"]),
/// ]);
/// let exchange = |response| Exchange { prompt: "q", response };
/// let verdicts = vote.judge(&[exchange("a trap"), exchange("some cheese")])?;
/// assert_eq!(verdicts[0].response, Safety::Unsafe);
/// assert_eq!(verdicts[1].response, Safety::Safe);
/// # Ok::<(), grsap_core::GuardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MajorityVote<G> {
    guards: Vec<G>,
}

impl<G: Guard> MajorityVote<G> {
    /// Lets `guards` vote; `Box<dyn Guard>` lets guards of several kinds. With none, nothing can be
    /// told.
    pub fn new(guards: Vec<G>) -> Self {
        Self { guards }
    }
}

impl<G: Guard> Guard for MajorityVote<G> {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        let mut ballots: Vec<Vec<Verdict>> = vec![Vec::new(); exchanges.len()];
        for guard in &self.guards {
            let verdicts = guard.judge(exchanges)?;
            if verdicts.len() != exchanges.len() {
                return Err(GuardError::Length {
                    expected: exchanges.len(),
                    got: verdicts.len(),
                });
            }
            for (ballot, verdict) in ballots.iter_mut().zip(verdicts) {
                ballot.push(verdict);
            }
        }
        Ok(ballots.iter().map(|ballot| count(ballot)).collect())
    }
}

fn count(ballot: &[Verdict]) -> Verdict {
    let wins = |matches: &dyn Fn(&Verdict) -> bool| {
        2 * ballot.iter().filter(|verdict| matches(verdict)).count() > ballot.len()
    };
    let response = [Safety::Unsafe, Safety::Safe]
        .into_iter()
        .find(|safety| wins(&|verdict| verdict.response == *safety))
        .unwrap_or(Safety::Unparsed);
    let refusal = [true, false]
        .into_iter()
        .find(|refusal| wins(&|verdict| verdict.refusal == Some(*refusal)));
    let raw: Vec<String> = ballot
        .iter()
        .enumerate()
        .map(|(number, verdict)| format!("{}: {}", number + 1, verdict.raw))
        .collect();
    Verdict {
        response,
        refusal,
        raw: raw.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use grsap_core::mock::MockGuard;

    use super::*;
    use crate::KeywordRefusal;

    struct Fixed(Safety, Option<bool>);

    impl Guard for Fixed {
        fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
            let verdict = Verdict {
                response: self.0,
                refusal: self.1,
                raw: "fixed".into(),
            };
            Ok(vec![verdict; exchanges.len()])
        }
    }

    const EXCHANGE: Exchange<'_> = Exchange {
        prompt: "q",
        response: "a",
    };

    #[test]
    fn more_than_half_of_all_decides() {
        use Safety::{Safe, Unparsed, Unsafe};
        type Ballot = &'static [(Safety, Option<bool>)];
        let cases: [(Ballot, (Safety, Option<bool>)); 7] = [
            (&[], (Unparsed, None)),
            (&[(Safe, Some(true))], (Safe, Some(true))),
            (&[(Safe, None), (Unsafe, None)], (Unparsed, None)),
            (
                &[(Safe, Some(true)), (Unsafe, Some(true)), (Unsafe, None)],
                (Unsafe, Some(true)),
            ),
            // One voice of three is no majority, though nobody speaks against it.
            (
                &[(Safe, Some(false)), (Unparsed, None), (Unparsed, None)],
                (Unparsed, None),
            ),
            (
                &[(Safe, None), (Safe, Some(false)), (Unparsed, Some(false))],
                (Safe, Some(false)),
            ),
            (
                &[(Safe, None), (Safe, None), (Unsafe, None), (Unsafe, None)],
                (Unparsed, None),
            ),
        ];
        for (ballot, expected) in cases {
            let guards = ballot.iter().map(|vote| Fixed(vote.0, vote.1)).collect();
            let verdicts = MajorityVote::new(guards).judge(&[EXCHANGE]).unwrap();
            let got = (verdicts[0].response, verdicts[0].refusal);
            assert_eq!(got, expected, "{ballot:?}");
        }
    }

    #[test]
    fn guards_of_several_kinds_vote_together() {
        let guards: Vec<Box<dyn Guard>> = vec![
            Box::new(MockGuard::new(["bad"])),
            Box::new(KeywordRefusal::default()),
            Box::new(Fixed(Safety::Unsafe, Some(false))),
        ];
        let verdicts = MajorityVote::new(guards)
            .judge(&[Exchange {
                prompt: "q",
                response: "bad",
            }])
            .unwrap();
        assert_eq!(verdicts[0].response, Safety::Unsafe);
        assert_eq!(
            verdicts[0].raw,
            "1: harmful: true; 2: no refusal phrase; 3: fixed"
        );
    }

    #[test]
    fn a_guard_that_answers_short_is_an_error() {
        struct Short;
        impl Guard for Short {
            fn judge(&self, _: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
                Ok(Vec::new())
            }
        }
        let error = MajorityVote::new(vec![Short])
            .judge(&[EXCHANGE])
            .unwrap_err();
        let GuardError::Length { expected, got } = error else {
            panic!("{error}")
        };
        assert_eq!((expected, got), (1, 0));
    }
}
