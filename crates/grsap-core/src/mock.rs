//! Scripted stand-ins, so that a whole pipeline can be tested without a model.
//!
//! ```
//! use grsap_core::{Generator, Prompt, SamplingConfig, SamplingParams, mock::MockGenerator};
//!
//! let model = MockGenerator::new(|prompt, sample| format!("{prompt} {sample}\" tail"));
//! let params = SamplingParams::new(SamplingConfig {
//!     n: 2,
//!     stop: vec!["\"".into()],
//!     ..Default::default()
//! })?;
//! let out = model.generate(&[Prompt::Text("hi".into())], &params)?;
//! assert_eq!(out[0].completions[1].text, "hi 1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::{
    Completion, Embedder, Exchange, FinishReason, Generation, Generator, Guard, GuardError,
    ModelError, Perplexity, Prompt, Safety, SamplingParams, Verdict,
};

/// A generator whose text is a function of the prompt and the sample index.
///
/// It honours `n`, `stop` and `max_new_tokens`, where a token is a word with the blanks before it.
pub struct MockGenerator<F> {
    script: F,
    num_prompts: AtomicUsize,
}

impl<F: Fn(&Prompt, usize) -> String> MockGenerator<F> {
    /// A generator that answers with `script(prompt, sample_index)`.
    pub fn new(script: F) -> Self {
        Self {
            script,
            num_prompts: AtomicUsize::new(0),
        }
    }

    /// How many prompts it has been given so far.
    pub fn num_prompts(&self) -> usize {
        self.num_prompts.load(Ordering::Relaxed)
    }
}

impl<F: Fn(&Prompt, usize) -> String> Generator for MockGenerator<F> {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        self.num_prompts.fetch_add(prompts.len(), Ordering::Relaxed);
        Ok(prompts
            .iter()
            .map(|prompt| Generation {
                completions: (0..params.n)
                    .map(|sample| complete((self.script)(prompt, sample), params))
                    .collect(),
            })
            .collect())
    }
}

fn complete(script: String, params: &SamplingParams) -> Completion {
    let mut text = String::new();
    let mut num_tokens = 0;
    for word in script.split_inclusive(|c: char| c.is_whitespace()) {
        if num_tokens == params.max_new_tokens {
            return Completion {
                text,
                num_tokens,
                finish_reason: FinishReason::Length,
            };
        }
        text.push_str(word);
        num_tokens += 1;
        if let Some(at) = params.stop.iter().filter_map(|s| text.find(s)).min() {
            text.truncate(at);
            return Completion {
                text,
                num_tokens,
                finish_reason: FinishReason::Stop,
            };
        }
    }
    Completion {
        text,
        num_tokens,
        finish_reason: FinishReason::Eos,
    }
}

/// A guard that calls a response harmful when it contains one of some words, and a refusal when it
/// contains "cannot" or "can't".
pub struct MockGuard {
    harmful: Vec<String>,
    garbled: Option<String>,
}

impl MockGuard {
    /// Responses with any of `harmful` in them are harmful.
    pub fn new<'a>(harmful: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            harmful: harmful.into_iter().map(str::to_owned).collect(),
            garbled: None,
        }
    }

    /// Responses with `word` in them get a verdict that cannot be read.
    #[must_use]
    pub fn with_garbled(mut self, word: impl Into<String>) -> Self {
        self.garbled = Some(word.into());
        self
    }
}

impl Guard for MockGuard {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        Ok(exchanges
            .iter()
            .map(|exchange| {
                let text = exchange.response;
                if self
                    .garbled
                    .as_ref()
                    .is_some_and(|word| text.contains(word))
                {
                    return Verdict {
                        response: Safety::Unparsed,
                        refusal: None,
                        raw: "??".into(),
                    };
                }
                let harmful = self.harmful.iter().any(|word| text.contains(word));
                Verdict {
                    response: if harmful {
                        Safety::Unsafe
                    } else {
                        Safety::Safe
                    },
                    refusal: Some(text.contains("cannot") || text.contains("can't")),
                    raw: format!("harmful: {harmful}"),
                }
            })
            .collect())
    }
}

/// Embeds a text as its hashed bag of lower-case words, at unit length. Texts that share words are
/// near each other.
pub struct MockEmbedder {
    dim: usize,
}

impl MockEmbedder {
    /// Embeddings of `dim` numbers, at least one.
    pub fn new(dim: usize) -> Self {
        Self { dim: dim.max(1) }
    }
}

impl Embedder for MockEmbedder {
    fn dim(&self) -> usize {
        self.dim
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let mut rows = Vec::with_capacity(texts.len() * self.dim);
        for text in texts {
            let mut row = vec![0.0f32; self.dim];
            for word in text.split_whitespace() {
                let hash = Sha256::digest(word.to_lowercase().as_bytes());
                let index = usize::from(u16::from_le_bytes([
                    hash.first().copied().unwrap_or(0),
                    hash.get(1).copied().unwrap_or(0),
                ])) % self.dim;
                if let Some(value) = row.get_mut(index) {
                    *value += 1.0;
                }
            }
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            if norm == 0.0 {
                if let Some(first) = row.first_mut() {
                    *first = 1.0;
                }
            } else {
                row.iter_mut().for_each(|x| *x /= norm);
            }
            rows.extend(row);
        }
        Ok(rows)
    }
}

/// A perplexity that is the number of characters in a text.
pub struct MockPerplexity;

impl Perplexity for MockPerplexity {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        Ok(texts
            .iter()
            .map(|text| text.chars().count() as f64)
            .collect())
    }
}
