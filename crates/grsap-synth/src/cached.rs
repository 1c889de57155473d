use std::cell::OnceCell;
use std::path::Path;

use grsap_core::{Generation, Generator, ModelError, Prompt, SamplingParams};
use serde_json::json;

use crate::SynthError;
use crate::synthesis::{Journal, keys, pick};

/// The version of what is kept.
const FORMAT: u32 = 1;

/// Answers of any number of models on disk, under (model, prompt, sampling).
///
/// It is a journal as synthesis keeps one: a checksum and a JSON object a line; an answer counts
/// when its line is on the disk, and what a kill left of a line is dropped when it is opened again.
/// One process at a time may use it.
pub struct AnswerCache {
    journal: Journal,
}

impl AnswerCache {
    /// Opens or begins the cache in the file at `path`.
    ///
    /// # Errors
    ///
    /// [`SynthError`] for a file that cannot be read or written, is damaged in the middle, is no
    /// cache of answers, or is in use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SynthError> {
        let identity = json!({ "kind": "answers", "format": FORMAT });
        let journal = Journal::open(path.as_ref(), &identity)?;
        Ok(Self { journal })
    }
}

/// A generator whose answers are taken from an [`AnswerCache`] where they are there already.
///
/// The model behind it is loaded when the first answer is missing: a run whose answers are all
/// there needs no model. A call is kept as a whole, so a kill loses the call that it interrupts.
///
/// # Examples
///
/// ```
/// use grsap_core::{Generator, Prompt, SamplingParams, mock::MockGenerator};
/// use grsap_synth::{AnswerCache, Cached};
///
/// let folder = tempfile::tempdir()?;
/// let cache = AnswerCache::open(folder.path().join("answers.jsonl"))?;
/// let model = MockGenerator::new(|prompt, _| format!("{prompt}!"));
/// let cached = Cached::new(&cache, "the model's SHA-256", || Ok(&model));
/// let (prompt, params) = ([Prompt::Text("hi".into())], SamplingParams::greedy(8));
/// assert_eq!(cached.generate(&prompt, &params)?, cached.generate(&prompt, &params)?);
/// assert_eq!(model.num_prompts(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cached<'a, G, F> {
    cache: &'a AnswerCache,
    model: String,
    load: F,
    inner: OnceCell<G>,
}

impl<'a, G, F: Fn() -> Result<G, ModelError>> Cached<'a, G, F> {
    /// The answers of the model that `load` gives. `model` tells it from all others that share the
    /// cache: a hash of its weights, adapter and template, for a name may come to mean another model.
    pub fn new(cache: &'a AnswerCache, model: impl Into<String>, load: F) -> Self {
        Self {
            cache,
            model: model.into(),
            load,
            inner: OnceCell::new(),
        }
    }

    fn inner(&self) -> Result<&G, ModelError> {
        match self.inner.get() {
            Some(inner) => Ok(inner),
            None => {
                let loaded = (self.load)()?;
                Ok(self.inner.get_or_init(|| loaded))
            }
        }
    }
}

impl<G: Generator, F: Fn() -> Result<G, ModelError>> Generator for Cached<'_, G, F> {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        let of: Vec<_> = prompts
            .iter()
            .map(|prompt| (&self.model, prompt, params))
            .collect();
        self.cache.journal.recall_or(
            &keys("answer", &of)?,
            |generation: &Generation| generation.completions.len() == params.n,
            |new| self.inner()?.generate(&pick(prompts, new), params),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use grsap_core::SamplingConfig;
    use grsap_core::mock::MockGenerator;

    use super::*;

    fn prompts(texts: &[&str]) -> Vec<Prompt> {
        let prompts = texts.iter().map(|text| Prompt::Text((*text).into()));
        prompts.collect()
    }

    fn model() -> impl Generator {
        MockGenerator::new(|prompt, sample| format!("{prompt} {sample}"))
    }

    #[test]
    fn only_what_is_new_is_asked_and_the_model_is_loaded_for_that_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/answers.jsonl");
        let params = SamplingParams::greedy(9);
        let plain = model().generate(&prompts(&["a", "b", "a", "c"]), &params);
        let expected = plain.unwrap();

        let cache = AnswerCache::open(&path).unwrap();
        let counted = MockGenerator::new(|prompt, sample| format!("{prompt} {sample}"));
        let cached = Cached::new(&cache, "m", || Ok(&counted));
        cached.generate(&prompts(&["a", "b"]), &params).unwrap();
        let got = cached.generate(&prompts(&["a", "b", "a", "c"]), &params);
        assert_eq!(got.unwrap(), expected);
        assert_eq!(counted.num_prompts(), 3);
        drop(cache);

        // Another process: no model at all.
        let cache = AnswerCache::open(&path).unwrap();
        let num_loads = Cell::new(0);
        let cached = Cached::new(&cache, "m", || {
            num_loads.set(num_loads.get() + 1);
            Ok(model())
        });
        let got = cached.generate(&prompts(&["c", "b"]), &params).unwrap();
        assert_eq!(got, [expected[3].clone(), expected[1].clone()]);
        assert_eq!(num_loads.get(), 0);
        cached.generate(&prompts(&["d"]), &params).unwrap();
        cached.generate(&prompts(&["e"]), &params).unwrap();
        assert_eq!(num_loads.get(), 1);
    }

    #[test]
    fn another_model_or_another_sampling_is_another_answer() {
        let folder = tempfile::tempdir().unwrap();
        let cache = AnswerCache::open(folder.path().join("a.jsonl")).unwrap();
        let calls = Cell::new(0);
        let answer = |model: &str, config: SamplingConfig| {
            let cached = Cached::new(&cache, model, || {
                calls.set(calls.get() + 1);
                let model = model.to_owned();
                Ok(MockGenerator::new(move |_, sample| {
                    format!("{model} {sample}")
                }))
            });
            let params = SamplingParams::new(config).unwrap();
            let answers = cached.generate(&prompts(&["q"]), &params).unwrap();
            answers[0].completions[0].text.clone()
        };
        let base = SamplingConfig::greedy(9);
        let mut others = vec![("m", base.clone()), ("n", base.clone())];
        for change in [
            |c: &mut SamplingConfig| c.temperature = 0.5,
            |c: &mut SamplingConfig| c.top_p = 0.5,
            |c: &mut SamplingConfig| c.top_k = Some(3),
            |c: &mut SamplingConfig| c.max_new_tokens = 8,
            |c: &mut SamplingConfig| c.n = 2,
            |c: &mut SamplingConfig| c.seed = 1,
            |c: &mut SamplingConfig| c.stop = vec!["x".into()],
        ] {
            let mut config = base.clone();
            change(&mut config);
            others.push(("m", config));
        }
        for _ in 0..2 {
            for (model, config) in &others {
                assert_eq!(answer(model, config.clone()), format!("{model} 0"));
            }
        }
        assert_eq!(calls.get(), others.len());
    }

    #[test]
    fn a_torn_line_costs_its_call_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let params = SamplingParams::greedy(9);
        let ask = |text: &str| {
            let cache = AnswerCache::open(&path).unwrap();
            let counted = MockGenerator::new(|prompt, _| prompt.to_string());
            let cached = Cached::new(&cache, "m", || Ok(&counted));
            cached.generate(&prompts(&[text]), &params).unwrap();
            counted.num_prompts()
        };
        assert_eq!((ask("a"), ask("b")), (1, 1));
        let whole = fs::read(&path).unwrap();
        for cut in [1, 20, 60] {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!((ask("a"), ask("b"), ask("b")), (0, 1, 0), "{cut}");
        }
    }

    #[test]
    fn bad_files_and_failing_models_are_errors_that_keep_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let cache = AnswerCache::open(&path).unwrap();
        let in_use = AnswerCache::open(&path).err().unwrap();
        assert!(matches!(in_use, SynthError::InUse { .. }), "{in_use}");
        let before = fs::read(&path).unwrap();
        let params = SamplingParams::greedy(9);
        let cached = Cached::new(&cache, "m", || {
            Err::<Box<dyn Generator>, _>(ModelError::backend("no such model", "gone"))
        });
        let error = cached.generate(&prompts(&["a"]), &params).unwrap_err();
        assert_eq!(error.to_string(), "no such model");
        assert_eq!(fs::read(&path).unwrap(), before);
        drop(cached);
        drop(cache);

        // The journal of a synthesis is no cache.
        let other = folder.path().join("b.jsonl");
        drop(Journal::open(&other, &json!({ "seed": 1 })).unwrap());
        let error = AnswerCache::open(&other).err().unwrap();
        assert!(
            matches!(error, SynthError::ConfigMismatch { .. }),
            "{error}"
        );
    }
}
