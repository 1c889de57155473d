use grsap_core::{Exchange, Generator, Guard, GuardError, Prompt, Verdict};

use crate::GuardFormat;

/// A guard model: a generator and the format it was trained on.
///
/// # Examples
///
/// ```
/// use grsap_core::{Exchange, Guard, Safety, mock::MockGenerator};
/// use grsap_safety::{LlamaGuard, ModelGuard};
///
/// let model = MockGenerator::new(|prompt, _| {
///     if prompt.to_string().contains("recipe") { "safe".into() } else { "unsafe\nS2".into() }
/// });
/// let guard = ModelGuard::new(model, LlamaGuard::default());
/// let verdicts = guard.judge(&[Exchange { prompt: "dinner?", response: "a recipe" }])?;
/// assert_eq!(verdicts[0].response, Safety::Safe);
/// # Ok::<(), grsap_core::GuardError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ModelGuard<G, F> {
    generator: G,
    format: F,
}

impl<G: Generator, F: GuardFormat> ModelGuard<G, F> {
    /// Judges with `generator`, spoken to in `format`.
    pub fn new(generator: G, format: F) -> Self {
        Self { generator, format }
    }

    /// The format.
    pub fn format(&self) -> &F {
        &self.format
    }
}

impl<G: Generator, F: GuardFormat> Guard for ModelGuard<G, F> {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        if exchanges.is_empty() {
            return Ok(Vec::new());
        }
        let prompts: Vec<Prompt> = exchanges
            .iter()
            .map(|exchange| self.format.prompt(exchange))
            .collect();
        let generations = self.generator.generate(&prompts, &self.format.params())?;
        let verdicts: Vec<Verdict> = generations
            .iter()
            .filter_map(|generation| generation.completions.first())
            .map(|completion| self.format.parse(&completion.text))
            .collect();
        // A dropped completion would shift every later verdict to another exchange.
        if verdicts.len() != exchanges.len() || generations.len() != exchanges.len() {
            return Err(GuardError::Length {
                expected: exchanges.len(),
                got: verdicts.len(),
            });
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use grsap_core::mock::MockGenerator;
    use grsap_core::{Generation, ModelError, Safety, SamplingParams};

    use super::*;
    use crate::{LlamaGuard, WildGuard};

    #[test]
    fn verdicts_keep_the_order_of_the_exchanges() {
        let model = MockGenerator::new(|prompt, _| {
            let harmful = if prompt.to_string().contains("bad") {
                "yes"
            } else {
                "no"
            };
            format!("Harmful request: no\nResponse refusal: no\nHarmful response: {harmful}")
        });
        let guard = ModelGuard::new(&model, WildGuard::default());
        let exchange = |response| Exchange {
            prompt: "q",
            response,
        };
        let verdicts = guard
            .judge(&[exchange("fine"), exchange("bad"), exchange("fine")])
            .unwrap();
        let responses: Vec<_> = verdicts.iter().map(|v| v.response).collect();
        assert_eq!(responses, [Safety::Safe, Safety::Unsafe, Safety::Safe]);
        assert_eq!(guard.judge(&[]).unwrap(), []);
        assert_eq!(model.num_prompts(), 3, "nothing is asked for no exchange");
    }

    #[test]
    fn a_missing_completion_is_an_error() {
        struct Mute;
        impl Generator for Mute {
            fn generate(
                &self,
                prompts: &[Prompt],
                _: &SamplingParams,
            ) -> Result<Vec<Generation>, ModelError> {
                Ok(vec![
                    Generation {
                        completions: Vec::new()
                    };
                    prompts.len()
                ])
            }
        }
        let guard = ModelGuard::new(Mute, LlamaGuard::default());
        let error = guard
            .judge(&[Exchange {
                prompt: "q",
                response: "a",
            }])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guard was given 1 exchanges and returned 0 verdicts"
        );
    }
}
