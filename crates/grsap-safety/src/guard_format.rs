use grsap_core::{Exchange, Prompt, SamplingParams, Verdict};

/// What a guard model reads and writes, as pure functions: tested without a model, and run by any
/// [`Generator`](grsap_core::Generator) through [`ModelGuard`](crate::ModelGuard).
pub trait GuardFormat {
    /// The guard's input for one exchange.
    fn prompt(&self, exchange: &Exchange<'_>) -> Prompt;

    /// How its answer is decoded; one completion for each prompt.
    fn params(&self) -> SamplingParams;

    /// Reads its answer. What cannot be read is [`Safety::Unparsed`](grsap_core::Safety::Unparsed),
    /// never a guess.
    fn parse(&self, raw: &str) -> Verdict;
}

impl<T: GuardFormat + ?Sized> GuardFormat for &T {
    fn prompt(&self, exchange: &Exchange<'_>) -> Prompt {
        (**self).prompt(exchange)
    }

    fn params(&self) -> SamplingParams {
        (**self).params()
    }

    fn parse(&self, raw: &str) -> Verdict {
        (**self).parse(raw)
    }
}

impl<T: GuardFormat + ?Sized> GuardFormat for Box<T> {
    fn prompt(&self, exchange: &Exchange<'_>) -> Prompt {
        (**self).prompt(exchange)
    }

    fn params(&self) -> SamplingParams {
        (**self).params()
    }

    fn parse(&self, raw: &str) -> Verdict {
        (**self).parse(raw)
    }
}
