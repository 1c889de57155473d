use grsap_core::{Exchange, Generator, Guard, Progress, Prompt, SamplingParams, Verdict};

use super::EvaluationError;

/// Prompts or exchanges of one call: a cache keeps whole calls, so a kill loses so many at most.
const CHUNK_SIZE: usize = 64;

/// A model that is asked.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) generator: &'a dyn Generator,
    pub(super) progress: &'a dyn Progress,
}

impl Asked<'_> {
    /// The first completion of each prompt.
    pub(super) fn answers(
        &self,
        questions: &'static str,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<String>, EvaluationError> {
        let task = format!("{}: {questions}", self.name);
        self.progress.start(&task, prompts.len());
        let mut answers = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks(CHUNK_SIZE) {
            let generations = self.generator.generate(chunk, params).map_err(|source| {
                EvaluationError::Model {
                    model: self.name.to_owned(),
                    questions,
                    source: source.placed(|index| answers.len() + index),
                }
            })?;
            self.check("answers", chunk.len(), generations.len())?;
            for generation in generations {
                self.check("completions", params.n, generation.completions.len())?;
                let first = generation.completions.into_iter().next();
                answers.push(first.map(|completion| completion.text).unwrap_or_default());
            }
            self.progress.advance(chunk.len());
        }
        self.progress.finish();
        Ok(answers)
    }

    pub(super) fn judged(
        &self,
        questions: &'static str,
        guard: &dyn Guard,
        prompts: &[String],
        answers: &[String],
    ) -> Result<Vec<Verdict>, EvaluationError> {
        let exchanges = exchanges(prompts, answers);
        let mut verdicts = Vec::with_capacity(exchanges.len());
        for chunk in exchanges.chunks(CHUNK_SIZE) {
            let judged = guard
                .judge(chunk)
                .map_err(|source| EvaluationError::Guard {
                    model: self.name.to_owned(),
                    questions,
                    source: source.placed(|index| verdicts.len() + index),
                })?;
            self.check("verdicts", chunk.len(), judged.len())?;
            verdicts.extend(judged);
        }
        Ok(verdicts)
    }

    fn check(
        &self,
        what: &'static str,
        expected: usize,
        got: usize,
    ) -> Result<(), EvaluationError> {
        if expected == got {
            return Ok(());
        }
        Err(EvaluationError::Length {
            model: self.name.to_owned(),
            what,
            expected,
            got,
        })
    }
}

/// Each prompt with its answer.
pub(super) fn exchanges<'a>(prompts: &'a [String], answers: &'a [String]) -> Vec<Exchange<'a>> {
    let both = prompts.iter().zip(answers);
    both.map(|(prompt, response)| Exchange { prompt, response })
        .collect()
}
