use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeError, s};
use rayon::prelude::*;

use super::FilterError;

/// Rows that are compared at once. Together with [`TILE`] it bounds the memory of a comparison,
/// however many rows there are.
pub(super) const BLOCK: usize = 512;
/// Of these, rows that one thread compares with a tile.
const STRIPE: usize = 128;
/// Rows that a stripe is compared with in one product.
const TILE: usize = 512;

/// The greatest cosine of each row of `block` with a row of `others`; negative infinity when there
/// are none. All rows have `dim` values and unit length.
///
/// Each cosine is one chain of sums over `dim`, and the greatest of them does not depend on their
/// order. So neither the number of threads nor what else is compared changes a bit.
pub(super) fn nearest(block: &[f32], others: &[f32], dim: usize) -> Result<Vec<f32>, FilterError> {
    let num_rows = block.len() / dim;
    let stripes = block.chunks(STRIPE * dim).enumerate();
    let tasks: Vec<_> = stripes
        .flat_map(|(index, stripe)| {
            let tiles = others.chunks(TILE * dim);
            tiles.map(move |tile| (index * STRIPE, stripe, tile))
        })
        .collect();
    let none = || vec![f32::NEG_INFINITY; num_rows];
    tasks
        .into_par_iter()
        .try_fold(
            || (none(), Vec::new()),
            |(mut best, mut scratch), (start, stripe, tile)| {
                let cosines = product(stripe, tile, dim, &mut scratch)?;
                let best_of_stripe = best.iter_mut().skip(start);
                for (best, cosines) in best_of_stripe.zip(cosines.outer_iter()) {
                    *best = cosines.iter().copied().fold(*best, f32::max);
                }
                Ok((best, scratch))
            },
        )
        .map(|best| best.map(|(best, _)| best))
        .try_reduce(none, |mut best, other| {
            for (best, other) in best.iter_mut().zip(other) {
                *best = best.max(other);
            }
            Ok(best)
        })
}

/// The cosines of the rows of `block` with those before them: `[row * num_rows + earlier]`. Above
/// the diagonal the values mean nothing.
pub(super) fn among(block: &[f32], dim: usize) -> Result<Vec<f32>, FilterError> {
    let num_rows = block.len() / dim;
    let mut cosines = vec![0.0; num_rows * num_rows];
    cosines
        .par_chunks_mut(STRIPE * num_rows.max(1))
        .enumerate()
        .try_for_each(|(index, cosines)| {
            let stripe_rows = cosines.len() / num_rows;
            let start = index * STRIPE;
            let end = start + stripe_rows;
            let rows = view(block, num_rows, dim)?;
            let mut cosines =
                ArrayViewMut2::from_shape((stripe_rows, num_rows), cosines).map_err(shape)?;
            let mut cosines = cosines.slice_mut(s![.., ..end]);
            let (stripe, earlier) = (rows.slice(s![start..end, ..]), rows.slice(s![..end, ..]));
            general_mat_mul(1.0, &stripe, &earlier.t(), 0.0, &mut cosines);
            Ok::<_, FilterError>(())
        })?;
    Ok(cosines)
}

/// All cosines of two sets of rows, `[a, b]`, in `scratch`.
fn product<'a>(
    a: &[f32],
    b: &[f32],
    dim: usize,
    scratch: &'a mut Vec<f32>,
) -> Result<ArrayView2<'a, f32>, FilterError> {
    let (a, b) = (view(a, a.len() / dim, dim)?, view(b, b.len() / dim, dim)?);
    let dims = (a.nrows(), b.nrows());
    scratch.resize(dims.0 * dims.1, 0.0);
    let mut cosines = ArrayViewMut2::from_shape(dims, scratch.as_mut_slice()).map_err(shape)?;
    general_mat_mul(1.0, &a, &b.t(), 0.0, &mut cosines);
    ArrayView2::from_shape(dims, scratch.as_slice()).map_err(shape)
}

fn view(rows: &[f32], num_rows: usize, dim: usize) -> Result<ArrayView2<'_, f32>, FilterError> {
    ArrayView2::from_shape((num_rows, dim), rows).map_err(shape)
}

fn shape(source: ShapeError) -> FilterError {
    FilterError::Model(grsap_core::ModelError::backend(
        "the embeddings have no rows",
        source,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::embeddings::dot;
    use super::*;
    use proptest::prelude::*;
    use rand::RngExt;

    fn rows(num_rows: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut rng = grsap_core::rng(seed, "rows", &[]);
        let mut rows: Vec<f32> = (0..num_rows * dim)
            .map(|_| rng.random::<f32>() - 0.5)
            .collect();
        for row in rows.chunks_mut(dim) {
            let norm = dot(row, row).sqrt();
            row.iter_mut().for_each(|value| *value /= norm);
        }
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn blocks_and_tiles_are_those_of_plain_dot_products(
            num_rows in 1..300usize,
            num_others in 0..1200usize,
            dim in 1..40usize,
        ) {
            let (block, others) = (rows(num_rows, dim, 1), rows(num_others, dim, 2));
            let best = nearest(&block, &others, dim).unwrap();
            for (row, best) in block.chunks(dim).zip(&best) {
                let expected = others
                    .chunks(dim)
                    .map(|other| dot(row, other))
                    .fold(f32::NEG_INFINITY, f32::max);
                prop_assert!(*best == expected || (best - expected).abs() < 1e-5);
            }
            let cosines = among(&block, dim).unwrap();
            for (i, row) in block.chunks(dim).enumerate() {
                for (j, other) in block.chunks(dim).take(i).enumerate() {
                    prop_assert!((cosines[i * num_rows + j] - dot(row, other)).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn neither_threads_nor_neighbours_change_a_bit() {
        let dim = 384;
        let (block, others) = (rows(BLOCK, dim, 1), rows(3 * TILE + 77, dim, 2));
        let with = |num_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads);
            pool.build()
                .unwrap()
                .install(|| nearest(&block, &others, dim))
                .unwrap()
        };
        let best = with(1);
        assert_eq!(best, with(2));
        assert_eq!(best, with(5));
        for index in [0, 1, 131, 511] {
            let row = &block[index * dim..(index + 1) * dim];
            assert_eq!(nearest(row, &others, dim).unwrap(), best[index..=index]);
        }
        // A pair has the same cosine whether it lies in one block or in two.
        let cosines = among(&block, dim).unwrap();
        let (row, other) = (&block[400 * dim..401 * dim], &block[17 * dim..18 * dim]);
        assert_eq!(
            nearest(row, other, dim).unwrap(),
            [cosines[400 * BLOCK + 17]]
        );
    }
}
