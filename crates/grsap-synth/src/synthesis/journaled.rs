use grsap_core::{
    Embedder, Exchange, Generation, Generator, Guard, GuardError, ModelError, Perplexity, Prompt,
    SamplingParams, Verdict,
};

use super::journal::{Journal, key};

/// A model whose results are kept in a journal and, where they are there already, taken from it.
///
/// What a result depends on is all that identifies it, so the order of the calls does not matter,
/// nor what they are made for.
pub(super) struct Journaled<'a, M: ?Sized> {
    inner: &'a M,
    journal: &'a Journal,
}

impl<'a, M: ?Sized> Journaled<'a, M> {
    pub(super) fn new(inner: &'a M, journal: &'a Journal) -> Self {
        Self { inner, journal }
    }
}

/// The items at `positions`.
pub(crate) fn pick<T: Clone>(items: &[T], positions: &[usize]) -> Vec<T> {
    let picked = positions
        .iter()
        .filter_map(|position| items.get(*position).cloned());
    picked.collect()
}

/// A key for each of `of`.
pub(crate) fn keys<T: serde::Serialize>(kind: &str, of: &[T]) -> Result<Vec<String>, ModelError> {
    of.iter().map(|of| key(kind, of)).collect()
}

impl Generator for Journaled<'_, dyn Generator + '_> {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        let of: Vec<_> = prompts.iter().map(|prompt| (prompt, params)).collect();
        self.journal.recall_or(
            &keys("generation", &of)?,
            |generation: &Generation| generation.completions.len() == params.n,
            |new| self.inner.generate(&pick(prompts, new), params),
        )
    }
}

impl Guard for Journaled<'_, dyn Guard + '_> {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        let of: Vec<_> = exchanges.iter().map(|e| (e.prompt, e.response)).collect();
        self.journal.recall_or(
            &keys("verdict", &of)?,
            |_: &Verdict| true,
            |new| self.inner.judge(&pick(exchanges, new)),
        )
    }
}

impl Perplexity for Journaled<'_, dyn Perplexity + '_> {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        let bits = self.journal.recall_or(
            &keys("perplexity", texts)?,
            |_: &u64| true,
            // As bits, for JSON has no infinity.
            |new| {
                let values = self.inner.perplexity(&pick(texts, new))?;
                Ok::<_, ModelError>(values.into_iter().map(f64::to_bits).collect())
            },
        )?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}

impl Embedder for Journaled<'_, dyn Embedder + '_> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let dim = self.dim();
        if dim == 0 {
            return self.inner.embed(texts);
        }
        let rows = self.journal.recall_or(
            &keys("embedding", texts)?,
            |row: &String| row.len() == dim * HEX_LEN,
            |new| {
                let values = self.inner.embed(&pick(texts, new))?;
                Ok::<_, ModelError>(values.chunks(dim).map(to_hex).collect())
            },
        )?;
        Ok(rows.iter().flat_map(|row| from_hex(row)).collect())
    }
}

/// Digits of one number.
const HEX_LEN: usize = 8;

/// Shorter and faster than decimal, and exact for every number.
fn to_hex(row: &[f32]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(row.len() * HEX_LEN);
    for value in row {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:08x}", value.to_bits());
    }
    text
}

fn from_hex(text: &str) -> impl Iterator<Item = f32> + '_ {
    text.as_bytes().chunks(HEX_LEN).map(|digits| {
        let bits = std::str::from_utf8(digits).map(|digits| u32::from_str_radix(digits, 16));
        // The line's checksum was right, so this is never NaN but where the model said so.
        f32::from_bits(bits.ok().and_then(Result::ok).unwrap_or(f32::NAN.to_bits()))
    })
}
