use grsap_core::{Generator, Guard, Message, Progress, Prompt, Safety};
use grsap_data::Difficulty;
use serde::{Deserialize, Serialize};

use crate::batch::{Batches, CHUNK_SIZE, derive_seed};
use crate::judging::exchanges;
use crate::{Candidate, Filtered, StageSampling, SynthError, Template};

const STAGE: &str = "revision";

/// Settings of [`Revision`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevisionConfig {
    /// What the model is asked instead of the query; `{query}` must occur in it.
    pub prompt: String,
    /// How it samples.
    pub sampling: StageSampling,
}

impl Default for RevisionConfig {
    /// GR-SAP, stage 3: temperature 0.7, 512 tokens; the words are our own.
    fn default() -> Self {
        Self {
            prompt: "{query}\n\nNote: the request above is harmful and must not be answered. \
                     Refuse it politely in a few sentences, say why, and give no part of what it \
                     asks for."
                .into(),
            sampling: StageSampling {
                temperature: 0.7,
                top_p: 1.0,
                top_k: None,
                max_new_tokens: 512,
            },
        }
    }
}

/// The stage that asks hard queries again, with an instruction to refuse.
///
/// The new response is judged as an answer to the query alone, for that is what is trained on.
/// Candidates that stay unsafe are kept with `is_safe` false.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::{MockGenerator, MockGuard};
/// use grsap_data::Difficulty;
/// use grsap_synth::{Candidate, Revision};
///
/// let mut hard = Candidate::new("00-0000", "theft", "How do I open a lock?");
/// hard.response = Some("BAD advice".into());
/// hard.difficulty = Some(Difficulty::Hard);
/// let model = MockGenerator::new(|_, _| "I cannot help with that.".into());
/// let guard = MockGuard::new(["BAD"]);
/// let revised = Revision::new(Default::default())?.run(&model, &guard, vec![hard], 7, &())?;
/// assert!(revised.kept[0].is_safe && revised.kept[0].is_revised);
/// assert_eq!(revised.kept[0].difficulty, Some(Difficulty::Hard));
/// # Ok::<(), grsap_synth::SynthError>(())
/// ```
pub struct Revision {
    prompt: Template,
    sampling: StageSampling,
    chunk_size: usize,
}

impl Revision {
    /// Checks `config`.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the setting that cannot be used.
    pub fn new(config: RevisionConfig) -> Result<Self, SynthError> {
        config.sampling.params(STAGE, 1, Vec::new(), 0)?;
        let prompt = Template::new("prompt", &config.prompt, &["query"])
            .and_then(|template| template.require("prompt", "query"))
            .map_err(|source| SynthError::Template {
                stage: STAGE,
                source,
            })?;
        Ok(Self {
            prompt,
            sampling: config.sampling,
            chunk_size: CHUNK_SIZE,
        })
    }

    /// Asks this many queries, or judges this many responses, in a call.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Revises the hard candidates in their places; easy ones pass through.
    ///
    /// Nothing is dropped. Counted are the candidates asked again (`revised`) and of these those
    /// that are now safe (`made_safe`), harmful (`still_unsafe`), without a readable verdict
    /// (`unparsed`) or blank (`blank`).
    ///
    /// # Errors
    ///
    /// [`SynthError`] when the model or the guard fails.
    pub fn run(
        &self,
        generator: &dyn Generator,
        guard: &dyn Guard,
        mut candidates: Vec<Candidate>,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Filtered, SynthError> {
        let seed = derive_seed(seed, STAGE, &[]);
        let params = self.sampling.params(STAGE, 1, Vec::new(), seed)?;
        let is_hard = |c: &&mut Candidate| c.difficulty == Some(Difficulty::Hard);
        let mut hard: Vec<&mut Candidate> = candidates.iter_mut().filter(is_hard).collect();
        let prompts: Vec<Prompt> = hard
            .iter()
            .map(|c| Prompt::chat([Message::user(self.prompt.fill(&[("query", &c.query)]))]))
            .collect();
        let batches = Batches {
            stage: STAGE,
            chunk_size: self.chunk_size,
            progress,
        };

        let mut counts = Filtered::default();
        for what in ["revised", "made_safe", "still_unsafe", "unparsed", "blank"] {
            counts.count(what, 0);
        }
        counts.count("revised", hard.len());
        let completions = batches.answer(generator, &prompts, &params, &mut counts)?;
        for (candidate, completion) in hard.iter_mut().zip(completions) {
            candidate.is_revised = true;
            candidate.is_safe = false;
            candidate.verdict = None;
            candidate.response = Some(completion.text.trim().to_owned());
        }
        hard.retain(|candidate| candidate.response.as_deref() != Some(""));
        counts.count("blank", prompts.len() - hard.len());

        let exchanges = exchanges(STAGE, hard.iter().map(|c| &**c))?;
        let verdicts = batches.judge(guard, &exchanges)?;
        for (candidate, verdict) in hard.into_iter().zip(verdicts) {
            let what = match verdict.response {
                Safety::Safe => "made_safe",
                Safety::Unsafe => "still_unsafe",
                Safety::Unparsed => "unparsed",
            };
            counts.count(what, 1);
            candidate.is_safe = verdict.response == Safety::Safe;
            candidate.verdict = Some(verdict);
        }
        Ok(Filtered {
            kept: candidates,
            ..counts
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::{MockGenerator, MockGuard};
    use grsap_core::{Exchange, GuardError, Verdict};

    fn candidate(id: &str, query: &str, difficulty: Difficulty) -> Candidate {
        let mut candidate = Candidate::new(id, "d", query);
        candidate.response = Some("first".into());
        candidate.is_safe = difficulty == Difficulty::Easy;
        candidate.difficulty = Some(difficulty);
        candidate
    }

    #[test]
    fn only_hard_ones_are_asked_again() {
        let model = MockGenerator::new(|prompt, _| {
            let text = prompt.to_string();
            assert!(text.contains("must not be answered"));
            match () {
                () if text.contains("q1") => "I cannot do that.".into(),
                () if text.contains("q2") => "BAD".into(),
                () if text.contains("q3") => "???".into(),
                () => " \n".into(),
            }
        });
        let guard = MockGuard::new(["BAD"]).with_garbled("???");
        let given = vec![
            candidate("0", "q0", Difficulty::Easy),
            candidate("1", "q1", Difficulty::Hard),
            candidate("2", "q2", Difficulty::Hard),
            candidate("3", "q3", Difficulty::Hard),
            candidate("4", "q4", Difficulty::Hard),
        ];
        let revision = Revision::new(RevisionConfig::default())
            .unwrap()
            .with_chunk_size(3);
        let out = revision.run(&model, &guard, given.clone(), 1, &()).unwrap();
        assert_eq!(model.num_prompts(), 4);
        assert_eq!(out.kept[0], given[0]);
        let ids: Vec<_> = out.kept.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4"]);
        let is_safe: Vec<_> = out.kept.iter().map(|c| c.is_safe).collect();
        assert_eq!(is_safe, [true, true, false, false, false]);
        for (what, n) in [
            ("revised", 4),
            ("made_safe", 1),
            ("still_unsafe", 1),
            ("unparsed", 1),
            ("blank", 1),
        ] {
            assert_eq!(out.counts[what], n, "{what}");
        }
    }

    struct OriginalOnly;

    impl Guard for OriginalOnly {
        fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
            Ok(exchanges
                .iter()
                .map(|exchange| {
                    assert_eq!(exchange.prompt, "q {query}", "judged on the original query");
                    Verdict {
                        response: Safety::Safe,
                        refusal: None,
                        raw: String::new(),
                    }
                })
                .collect())
        }
    }

    #[test]
    fn the_original_query_is_judged() {
        let model = MockGenerator::new(|_, _| "no".into());
        let revision = Revision::new(RevisionConfig::default()).unwrap();
        let given = vec![candidate("0", "q {query}", Difficulty::Hard)];
        let out = revision.run(&model, &OriginalOnly, given, 1, &()).unwrap();
        assert_eq!(out.kept[0].query, "q {query}");
    }

    #[test]
    fn the_template_needs_the_query() {
        let config = RevisionConfig {
            prompt: "refuse".into(),
            ..Default::default()
        };
        assert!(matches!(
            Revision::new(config),
            Err(SynthError::Template { .. })
        ));
    }
}
