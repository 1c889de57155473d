use rayon::prelude::*;

use super::Features;
use super::eigen::{Eigen, symmetric_eigen};
use super::product::{BLOCK, Element};
use crate::MetricError;

/// Rows of several sets in the coordinates of their principal components.
pub(crate) struct Projected {
    /// `[rows, dim]`, row-major; the rows of the first set, then those of the second, and so on.
    pub(crate) values: Vec<f32>,
    /// How many components were kept.
    pub(crate) dim: usize,
}

/// The rows of all sets, made unit vectors, on as few principal components as together explain at least
/// `explained_variance` of what varies between them.
///
/// Computed in `f64`. A row of zeros stays one.
pub(crate) fn project(
    sets: &[Features<'_>],
    explained_variance: f64,
) -> Result<Projected, MetricError> {
    let Some(dim) = sets.first().map(Features::dim) else {
        return Err(MetricError::Empty {
            metric: "the similarity",
        });
    };
    let rows: Vec<&[f32]> = sets.iter().flat_map(Features::rows).collect();
    let centred = Centred::new(&rows, dim);
    let Eigen { values, vectors } = symmetric_eigen(centred.scatter(), dim)?;
    let total: f64 = values.iter().map(|value| value.max(0.0)).sum();
    let mut explained = 0.0;
    let num_below = values
        .iter()
        .take_while(|value| {
            explained += value.max(0.0);
            explained < explained_variance * total
        })
        .count();
    let kept = (num_below + 1).min(dim);
    let axes = vectors.get(..kept * dim).unwrap_or_default();
    let mut projected = vec![0.0_f32; rows.len() * kept];
    projected
        .par_chunks_mut(BLOCK * kept)
        .enumerate()
        .for_each(|(block, to)| {
            let from = centred.rows(block * BLOCK, to.len() / kept);
            let mut exact = vec![0.0; to.len()];
            f64::rows_by_rows(&from, axes, dim, &mut exact);
            for (to, exact) in to.iter_mut().zip(exact) {
                *to = exact as f32;
            }
        });
    Ok(Projected {
        values: projected,
        dim: kept,
    })
}

/// Unit vectors less their mean.
struct Centred<'a> {
    originals: &'a [&'a [f32]],
    inverse_lengths: Vec<f64>,
    mean: Vec<f64>,
}

impl<'a> Centred<'a> {
    fn new(originals: &'a [&'a [f32]], dim: usize) -> Self {
        let inverse_length = |row: &&[f32]| {
            let square: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            if square == 0.0 {
                0.0
            } else {
                square.sqrt().recip()
            }
        };
        let inverse_lengths: Vec<f64> = originals.par_iter().map(inverse_length).collect();
        let mut mean = vec![0.0; dim];
        for (row, scale) in originals.iter().zip(&inverse_lengths) {
            for (sum, x) in mean.iter_mut().zip(*row) {
                *sum += scale * f64::from(*x);
            }
        }
        for sum in &mut mean {
            *sum /= originals.len() as f64;
        }
        Self {
            originals,
            inverse_lengths,
            mean,
        }
    }

    fn row(&self, original: &'a [f32], scale: f64) -> impl Iterator<Item = f64> {
        let pairs = original.iter().zip(&self.mean);
        pairs.map(move |(x, mean)| scale * f64::from(*x) - mean)
    }

    /// `num` rows from `from` on, row-major.
    fn rows(&self, from: usize, num: usize) -> Vec<f64> {
        let rows = self.originals.iter().zip(&self.inverse_lengths);
        rows.skip(from)
            .take(num)
            .flat_map(|(row, scale)| self.row(row, *scale))
            .collect()
    }

    /// The sum over the rows of each row times itself, `[dim, dim]`.
    ///
    /// One task sums one block of it over all rows, so that the order of a sum does not depend on the
    /// number of threads.
    fn scatter(&self) -> Vec<f64> {
        const SIDE: usize = 64;
        let (dim, n) = (self.mean.len(), self.originals.len());
        // One line for each column of the rows.
        let mut lines = vec![0.0; dim * n];
        lines
            .par_chunks_mut(SIDE * n)
            .enumerate()
            .for_each(|(block, lines)| {
                for (at, (row, scale)) in
                    self.originals.iter().zip(&self.inverse_lengths).enumerate()
                {
                    let values = self.row(row, *scale).skip(block * SIDE);
                    for (line, value) in lines.chunks_mut(n).zip(values) {
                        if let Some(to) = line.get_mut(at) {
                            *to = value;
                        }
                    }
                }
            });
        let blocks: Vec<(usize, Vec<f64>)> = lines
            .par_chunks(SIDE * n)
            .enumerate()
            .map(|(block, part)| {
                // What lies left of the diagonal is the mirror image of what lies right of it.
                let others = lines.get(block * SIDE * n..).unwrap_or_default();
                let mut out = vec![0.0; (part.len() / n) * (others.len() / n)];
                f64::rows_by_rows(part, others, n, &mut out);
                (block * SIDE, out)
            })
            .collect();
        let mut scatter = vec![0.0; dim * dim];
        for (start, block) in blocks {
            for (at, line) in (start..).zip(block.chunks(dim - start)) {
                for (other, value) in (start..).zip(line) {
                    for place in [at * dim + other, other * dim + at] {
                        // Within the block itself both halves were computed; the lower one is skipped.
                        if other >= at
                            && let Some(to) = scatter.get_mut(place)
                        {
                            *to = *value;
                        }
                    }
                }
            }
        }
        scatter
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn random(rows: usize, dim: usize) -> Vec<f32> {
        let mut rng = grsap_core::rng(3, "pca", &[]);
        // The further a column, the less it varies.
        (0..rows * dim)
            .map(|at| rng.random_range(-1.0..1.0) / (1 + at % dim) as f32)
            .collect()
    }

    #[test]
    fn the_scatter_by_its_definition() {
        let (rows, dim) = (30, 70);
        let values = random(rows, dim);
        let rows: Vec<&[f32]> = values.chunks(dim).collect();
        let centred = Centred::new(&rows, dim);
        let scatter = centred.scatter();
        let all = centred.rows(0, rows.len());
        for i in 0..dim {
            let mean: f64 = all.chunks(dim).map(|row| row[i]).sum();
            assert!(mean.abs() < 1e-12);
            for j in 0..dim {
                let expected: f64 = all.chunks(dim).map(|row| row[i] * row[j]).sum();
                assert!((scatter[i * dim + j] - expected).abs() < 1e-12);
            }
        }
        assert_eq!(centred.rows(7, 2), all[7 * dim..9 * dim]);
    }

    #[test]
    fn distances_are_kept_as_far_as_the_variance() {
        let (rows, dim) = (700, 20);
        let values = random(rows, dim);
        let features = Features::new(&values, dim).unwrap();
        let spread = |projected: &Projected| {
            let values = &projected.values;
            values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
        };
        let nearly_all = project(&[features], 1.0 - 1e-9).unwrap();
        assert_eq!(nearly_all.dim, dim);
        let most = project(&[features], 0.9).unwrap();
        assert!(most.dim > 1 && most.dim < dim);
        let share = spread(&most) / spread(&nearly_all);
        assert!((0.9..0.99).contains(&share), "{share}");
        // Components are in order and do not vary together.
        let column = |i: usize| {
            most.values
                .chunks(most.dim)
                .map(move |row| f64::from(row[i]))
        };
        let between: f64 = column(0).zip(column(1)).map(|(a, b)| a * b).sum();
        assert!(between.abs() < 1e-4, "{between}");
    }

    #[test]
    fn rows_that_are_all_alike() {
        let values = [3.0, 4.0].repeat(10);
        let projected = project(&[Features::new(&values, 2).unwrap()], 0.9).unwrap();
        assert_eq!(projected.dim, 1);
        assert!(projected.values.iter().all(|x| x.abs() < 1e-7));
        let values = [0.0; 4];
        let projected = project(&[Features::new(&values, 2).unwrap()], 0.9).unwrap();
        assert_eq!(projected.values, [0.0, 0.0]);
    }
}
