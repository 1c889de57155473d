use grsap_core::{Embedder, ModelError};
use rand::Rng;

/// Rows that are there already; a text is the number of one.
pub struct Rows {
    dim: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Rows of `dim` values each, one after the other.
    pub fn new(dim: usize, values: Vec<f32>) -> Self {
        Self { dim, values }
    }

    /// Unit vectors made from a seed: noisy copies of a third as many centres, so that about two
    /// thirds have an earlier one within a cosine of 0.85.
    pub fn copies(num_rows: usize, dim: usize, seed: u64) -> Self {
        let mut rng = grsap_core::rng(seed, "rows", &[]);
        // The sum of four uniform numbers is close enough to a normal one.
        let mut draw = || {
            let bits = rng.next_u64().to_le_bytes();
            let (parts, _) = bits.as_chunks::<2>();
            let sum: f32 = parts
                .iter()
                .map(|b| f32::from(u16::from_le_bytes(*b)))
                .sum();
            sum / 65_536.0 - 2.0
        };
        let num_centres = (num_rows / 3).max(1);
        let centres: Vec<f32> = (0..num_centres * dim).map(|_| draw()).collect();
        let mut values = Vec::with_capacity(num_rows * dim);
        for row in 0..num_rows {
            let centre = centres.chunks(dim).nth(row * 7919 % num_centres);
            let row: Vec<f32> = centre
                .unwrap_or_default()
                .iter()
                .map(|value| value + 0.35 * draw())
                .collect();
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            values.extend(row.iter().map(|value| value / norm));
        }
        Self { dim, values }
    }

    /// The numbers of all rows, as texts.
    pub fn texts(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.values.len() / self.dim.max(1)).map(|row| row.to_string())
    }
}

impl Embedder for Rows {
    fn dim(&self) -> usize {
        self.dim
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError> {
        let mut rows = Vec::with_capacity(texts.len() * self.dim);
        for (index, text) in texts.iter().enumerate() {
            let row = text.parse::<usize>().ok().and_then(|row| {
                let start = row.checked_mul(self.dim)?;
                self.values.get(start..start + self.dim)
            });
            rows.extend_from_slice(row.ok_or_else(|| ModelError::InvalidInput {
                index,
                reason: format!("no row {text}"),
            })?);
        }
        Ok(rows)
    }
}
