use grsap_core::{
    Completion, FinishReason, Generator, Message, Progress, Prompt, SafetyDomain, SamplingConfig,
    SamplingParams, Turn,
};
use serde::{Deserialize, Serialize};

use crate::batch::{CHUNK_SIZE, derive_seed, generate, generate_once};
use crate::quote::false_stop;
use crate::{
    Candidate, ExtractorConfig, Filtered, QueryExtractor, Rejected, StageSampling, SynthError,
};

const STAGE: &str = "extraction";

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
        stage.params(0)?;
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
        let params = self.params(derive_seed(seed, STAGE, &[]))?;
        let prompts = self.prompts(domains);
        let generations = generate(
            STAGE,
            generator,
            &prompts,
            &params,
            self.chunk_size,
            progress,
        )?;

        let mut filtered = Filtered::default();
        let asked = domains.iter().zip(&prompts).zip(generations);
        for (index, ((domain, prompt), generation)) in asked.enumerate() {
            for (sample, completion) in generation.completions.into_iter().enumerate() {
                filtered.count("num_tokens", completion.num_tokens);
                let id = format!("{index:02}-{sample:04}");
                let written = self.finish(
                    &id,
                    prompt,
                    completion,
                    generator,
                    &params,
                    seed,
                    &mut filtered,
                )?;
                let query = written
                    .is_closed
                    .then(|| self.extractor.parse(&written.text));
                let reason = match query.flatten() {
                    None => "no_closing_quote",
                    Some(query) if query.trim().is_empty() => "blank",
                    Some(query) => {
                        let candidate = Candidate::new(id, &domain.name, query);
                        if candidate.query.chars().count() < self.config.min_query_chars {
                            let rejected = Rejected::new(STAGE, "too_short", None, candidate);
                            filtered.rejected.push(rejected);
                        } else {
                            filtered.kept.push(candidate);
                        }
                        continue;
                    }
                };
                let candidate = Candidate::new(id, &domain.name, written.text);
                filtered
                    .rejected
                    .push(Rejected::new(STAGE, reason, None, candidate));
            }
        }
        Ok(filtered)
    }

    /// Lets the model write on while it was stopped at a quote inside the query.
    #[allow(clippy::too_many_arguments)]
    fn finish(
        &self,
        id: &str,
        prompt: &Prompt,
        completion: Completion,
        generator: &dyn Generator,
        params: &SamplingParams,
        seed: u64,
        filtered: &mut Filtered,
    ) -> Result<Written, SynthError> {
        let mut text = completion.text;
        let mut finish_reason = completion.finish_reason;
        let mut num_left = params.max_new_tokens.saturating_sub(completion.num_tokens);
        let mut round = 0usize;
        while finish_reason == FinishReason::Stop {
            let Some(mark) = false_stop(&text) else {
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
            let parts: [&[u8]; 2] = [id.as_bytes(), &round.to_le_bytes()];
            let params = SamplingParams::new(SamplingConfig {
                n: 1,
                max_new_tokens: num_left,
                seed: derive_seed(seed, "extraction.continuation", &parts),
                ..params.clone().into_config()
            })
            .map_err(|source| SynthError::Sampling {
                stage: STAGE,
                source,
            })?;
            let prompts = [write_on(prompt, &text)];
            let more = generate_once(STAGE, generator, &prompts, &params)?
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

    fn params(&self, seed: u64) -> Result<SamplingParams, SynthError> {
        let config = &self.config;
        config
            .sampling
            .params(STAGE, config.num_samples, self.extractor.stop(), seed)
    }
}

struct Written {
    text: String,
    is_closed: bool,
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
