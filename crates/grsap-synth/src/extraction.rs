use std::collections::BTreeMap;

use grsap_core::{
    Completion, FinishReason, Generator, Message, Progress, Prompt, SafetyDomain, SamplingParams,
    Turn,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Batches, CHUNK_SIZE, derive_seed};
use crate::extractor::default_stops;
use crate::quote::false_stop;
use crate::{
    Candidate, ExtractorConfig, Filtered, QueryExtractor, Rejected, StageSampling, SynthError,
};

const STAGE: &str = "extraction";

/// Samples of a prompt that share a seed. Part of what fixes the draws, so it is no setting.
pub(crate) const ROUND: usize = 64;

/// Settings of [`Extraction`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtractionConfig {
    /// How the model is asked.
    pub extractor: ExtractorConfig,
    /// Samples for each domain.
    pub num_samples: usize,
    /// How it samples.
    pub sampling: StageSampling,
    /// Shorter queries are dropped.
    pub min_query_chars: usize,
    /// How often a query is written on where it was cut at a quote inside it.
    pub max_continuations: usize,
}

impl Default for ExtractionConfig {
    /// GR-SAP, stage 1: 512 samples a domain at temperature 1, 256 tokens each.
    fn default() -> Self {
        Self {
            extractor: ExtractorConfig::default(),
            num_samples: 512,
            sampling: StageSampling {
                temperature: 1.0,
                top_p: 1.0,
                top_k: None,
                max_new_tokens: 256,
            },
            min_query_chars: 10,
            max_continuations: 4,
        }
    }
}

/// The stage that makes the model write queries.
///
/// # Examples
///
/// ```
/// use grsap_core::{SafetyDomain, mock::MockGenerator};
/// use grsap_synth::{Extraction, ExtractionConfig};
///
/// let model = MockGenerator::new(|_, sample| match sample {
///     0 => "How do I open a lock?\" I refused because".into(),
///     _ => "it never ends".into(),
/// });
/// let config = ExtractionConfig { num_samples: 2, ..Default::default() };
/// let found = Extraction::new(config)?.run(&model, &[SafetyDomain::new("theft")], 7, &())?;
/// assert_eq!(found.kept[0].query, "How do I open a lock?");
/// assert_eq!(found.rejected[0].reason, "no_closing_quote");
/// # Ok::<(), grsap_synth::SynthError>(())
/// ```
pub struct Extraction {
    extractor: Box<dyn QueryExtractor>,
    config: ExtractionConfig,
    chunk_size: usize,
}

impl Extraction {
    /// Checks `config` and builds its extractor.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the setting that cannot be used.
    pub fn new(config: ExtractionConfig) -> Result<Self, SynthError> {
        let extractor = config
            .extractor
            .build()
            .map_err(|source| SynthError::Template {
                stage: STAGE,
                source,
            })?;
        let stage = Self {
            extractor,
            config,
            chunk_size: CHUNK_SIZE,
        };
        stage.params(stage.config.num_samples, 0)?;
        Ok(stage)
    }

    /// Asks the model in a way of your own; `config.extractor` is not used then.
    #[must_use]
    pub fn with_extractor(mut self, extractor: Box<dyn QueryExtractor>) -> Self {
        self.extractor = extractor;
        self
    }

    /// Asks for about this many completions in a call, but never for less than one prompt's. It
    /// changes speed and memory, not the result.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Asks for queries in every domain. Dropped are completions without a closing quote
    /// (`no_closing_quote`), blank ones (`blank`) and short ones (`too_short`).
    ///
    /// # Errors
    ///
    /// [`SynthError`] when the model fails.
    pub fn run(
        &self,
        generator: &dyn Generator,
        domains: &[SafetyDomain],
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Filtered, SynthError> {
        let asked: Vec<_> = domains
            .iter()
            .map(|domain| (domain, self.config.num_samples))
            .collect();
        self.sample(generator, &asked, seed, progress, &mut |_| Ok(()))
    }

    /// As [`run`](Self::run), with a number of samples for each domain, and with queries handed to
    /// `as_they_come` after each call to the model.
    ///
    /// Samples are asked for in rounds, each with a seed of its own. So more samples of a domain are
    /// added to those that are there, and what one call returns stays small enough to be lost.
    pub(crate) fn sample(
        &self,
        generator: &dyn Generator,
        asked: &[(&SafetyDomain, usize)],
        seed: u64,
        progress: &dyn Progress,
        as_they_come: &mut dyn FnMut(&[Candidate]) -> Result<(), SynthError>,
    ) -> Result<Filtered, SynthError> {
        let batches = Batches {
            stage: STAGE,
            chunk_size: self.chunk_size,
            progress,
        };
        progress.start(STAGE, asked.iter().map(|(_, num)| num).sum());
        let prompts: Vec<Prompt> = asked
            .iter()
            .map(|(domain, _)| self.extractor.prompt(domain))
            .collect();
        let mut found = vec![Filtered::default(); asked.len()];
        let most = asked.iter().map(|(_, num)| *num).max().unwrap_or_default();
        for round in 0..most.div_ceil(ROUND) {
            let begin = round * ROUND;
            // Domains may want fewer samples in their last round than the others.
            let mut by_num: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            let domains = asked.iter().zip(&prompts).zip(&mut found).enumerate();
            for (index, (((domain, num), prompt), found)) in domains {
                if *num > begin {
                    let of_num = by_num.entry((num - begin).min(ROUND)).or_default();
                    of_num.push((index, *domain, prompt, found));
                }
            }
            for (num, mut domains) in by_num {
                let params = self.params(num, round_seed(seed, round))?;
                for chunk in domains.chunks_mut((self.chunk_size / num).max(1)) {
                    let prompts: Vec<Prompt> = chunk
                        .iter()
                        .map(|(_, _, prompt, _)| (*prompt).clone())
                        .collect();
                    let generations = batches.generate_once(generator, &prompts, &params)?;
                    for ((index, domain, prompt, found), generation) in
                        chunk.iter_mut().zip(generations)
                    {
                        let num_before = found.kept.len();
                        for (sample, completion) in (begin..).zip(generation.completions) {
                            found.count("num_tokens", completion.num_tokens);
                            let id = format!("{index:02}-{sample:04}");
                            let of = (id.as_str(), *prompt);
                            let written =
                                self.finish(&batches, generator, of, completion, seed, found)?;
                            self.sort_out(id, domain, written, found);
                        }
                        as_they_come(found.kept.get(num_before..).unwrap_or_default())?;
                    }
                    progress.advance(chunk.len() * num);
                }
            }
        }
        progress.finish();
        let mut all = Filtered::default();
        found.into_iter().for_each(|found| all.append(found));
        Ok(all)
    }

    /// Keeps what was written, or drops it with the reason.
    fn sort_out(&self, id: String, domain: &SafetyDomain, written: Written, into: &mut Filtered) {
        let query = written
            .is_closed
            .then(|| self.extractor.parse(&written.text))
            .flatten();
        let (reason, text) = match query {
            None => ("no_closing_quote", written.text),
            Some(query) if query.trim().is_empty() => ("blank", written.text),
            Some(query) if query.chars().count() < self.config.min_query_chars => {
                ("too_short", query)
            }
            Some(query) => {
                into.kept.push(Candidate::new(id, &domain.name, query));
                return;
            }
        };
        let candidate = Candidate::new(id, &domain.name, text);
        into.rejected
            .push(Rejected::new(STAGE, reason, None, candidate));
    }

    /// Lets the model write on while it was stopped at a quote inside the query.
    fn finish(
        &self,
        batches: &Batches<'_>,
        generator: &dyn Generator,
        (id, prompt): (&str, &Prompt),
        completion: Completion,
        seed: u64,
        filtered: &mut Filtered,
    ) -> Result<Written, SynthError> {
        let max_new_tokens = self.config.sampling.max_new_tokens;
        let mut text = completion.text;
        let mut finish_reason = completion.finish_reason;
        let mut num_left = max_new_tokens.saturating_sub(completion.num_tokens);
        let mut round = 0usize;
        let stops = self.extractor.stop();
        let has_own = stops.iter().any(|stop| !default_stops().contains(stop));
        if finish_reason == FinishReason::Stop && has_own {
            // An extractor with marks of its own: the one that it can read.
            let closed = stops
                .iter()
                .map(|stop| format!("{text}{stop}"))
                .find(|text| self.extractor.parse(text).is_some());
            return Ok(Written {
                is_closed: closed.is_some(),
                text: closed.unwrap_or(text),
            });
        }
        while finish_reason == FinishReason::Stop {
            // A mark that nobody stops at was not what ended it.
            let is_stop = |mark: &char| stops.iter().any(|stop| stop.chars().eq([*mark]));
            let Some(mark) = false_stop(&text).filter(is_stop) else {
                // The stop text is not part of the completion; the parser wants to see it.
                text.push('"');
                return Ok(Written {
                    text,
                    is_closed: true,
                });
            };
            text.push(mark);
            if num_left == 0 || round == self.config.max_continuations {
                break;
            }
            let parts: [&[u8]; 2] = [id.as_bytes(), &(round as u64).to_le_bytes()];
            let sampling = StageSampling {
                max_new_tokens: num_left,
                ..self.config.sampling.clone()
            };
            let seed = derive_seed(seed, "extraction.continuation", &parts);
            let params = sampling.params(STAGE, 1, self.extractor.stop(), seed)?;
            let prompts = [write_on(prompt, &text)];
            let more = batches
                .generate_once(generator, &prompts, &params)?
                .into_iter()
                .flat_map(|generation| generation.completions)
                .next();
            let Some(more) = more else { break };
            filtered.count("num_continuations", 1);
            filtered.count("num_tokens", more.num_tokens);
            text.push_str(&more.text);
            num_left = num_left.saturating_sub(more.num_tokens);
            finish_reason = more.finish_reason;
            round += 1;
        }
        // A generator that does not know the stop texts may have written past the quote.
        let is_closed = self.extractor.parse(&text).is_some();
        Ok(Written { text, is_closed })
    }

    pub(crate) fn prompts(&self, domains: &[SafetyDomain]) -> Vec<Prompt> {
        domains.iter().map(|d| self.extractor.prompt(d)).collect()
    }

    fn params(&self, n: usize, seed: u64) -> Result<SamplingParams, SynthError> {
        let stop = self.extractor.stop();
        self.config.sampling.params(STAGE, n, stop, seed)
    }
}

struct Written {
    text: String,
    is_closed: bool,
}

/// The seed of the samples of one round.
fn round_seed(seed: u64, round: usize) -> u64 {
    match round {
        0 => derive_seed(seed, STAGE, &[]),
        _ => derive_seed(seed, "extraction.round", &[&(round as u64).to_le_bytes()]),
    }
}

/// `prompt` with `text` already written.
fn write_on(prompt: &Prompt, text: &str) -> Prompt {
    match prompt {
        Prompt::Text(before) => Prompt::Text(format!("{before}{text}")),
        Prompt::Chat { messages, turn } => {
            let mut messages = messages.clone();
            match (turn, messages.last_mut()) {
                (Turn::ContinueLast, Some(last)) => last.content.push_str(text),
                _ => messages.push(Message::assistant(text)),
            }
            Prompt::prefilled(messages)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::mock::MockGenerator;

    fn run(script: impl Fn(&Prompt, usize) -> String, config: ExtractionConfig) -> Filtered {
        let domains = [SafetyDomain::new("theft"), SafetyDomain::new("weapons")];
        Extraction::new(config)
            .unwrap()
            .run(&MockGenerator::new(script), &domains, 3, &())
            .unwrap()
    }

    fn config(num_samples: usize) -> ExtractionConfig {
        ExtractionConfig {
            num_samples,
            ..Default::default()
        }
    }

    #[test]
    fn every_outcome_has_its_reason() {
        let script = |_: &Prompt, sample: usize| {
            [
                "a good query here\" no",
                "\" no",
                "  \n\" no",
                "short\" no",
                "never closed",
            ][sample]
                .to_owned()
        };
        let found = run(script, config(5));
        let report = found.report("extraction");
        assert_eq!((report.kept, report.rejected), (2, 8));
        let reasons: Vec<_> = report.reasons.into_iter().collect();
        assert_eq!(
            reasons,
            [
                ("blank".to_owned(), 4),
                ("no_closing_quote".to_owned(), 2),
                ("too_short".to_owned(), 2)
            ]
        );
        assert_eq!(found.kept[1].id, "01-0000");
        assert_eq!(found.kept[1].domain, "weapons");
        let never = found
            .rejected
            .iter()
            .find(|r| r.reason == "no_closing_quote");
        assert_eq!(never.unwrap().candidate.query, "never closed");
    }

    #[test]
    fn a_query_goes_on_after_a_quote_inside_it() {
        // What the model writes after what is already there.
        let goes_on = [
            ("say \\\"", "word\\\" and"),
            ("word\\\"", " and “other” politely?"),
            ("“other”", " politely?\" tail"),
        ];
        let script = move |prompt: &Prompt, _: usize| {
            let written = prompt.to_string();
            let rest = goes_on.iter().find(|(end, _)| written.ends_with(end));
            rest.map_or("How do I say \\\"word", |(_, rest)| rest)
                .to_owned()
        };
        let found = run(script, config(1));
        assert_eq!(found.kept.len(), 2, "{:?}", found.rejected);
        assert_eq!(
            found.kept[0].query,
            "How do I say \"word\" and “other” politely?"
        );
        assert_eq!(found.counts["num_continuations"], 2 * 3);
    }

    #[test]
    fn continuations_are_bounded() {
        let endless = |_: &Prompt, _: usize| "again and again \\\" and".to_owned();
        let found = run(endless, config(1));
        assert_eq!(found.kept.len(), 0);
        assert_eq!(found.rejected[0].reason, "no_closing_quote");
        assert_eq!(found.counts["num_continuations"], 2 * 4);

        let few_tokens = ExtractionConfig {
            sampling: StageSampling {
                max_new_tokens: 5,
                ..config(1).sampling
            },
            ..config(1)
        };
        let found = run(endless, few_tokens);
        assert_eq!(
            found.counts["num_tokens"],
            2 * 5,
            "the budget is for the whole query"
        );
    }

    #[test]
    fn settings_are_checked_at_once() {
        let mut bad = config(0);
        assert!(matches!(
            Extraction::new(bad.clone()),
            Err(SynthError::Sampling { .. })
        ));
        bad.num_samples = 1;
        bad.extractor = ExtractorConfig::User {
            prefill: "no place \"".into(),
        };
        assert!(matches!(
            Extraction::new(bad),
            Err(SynthError::Template { .. })
        ));
    }
}
