use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::dropout::kept_share;
use super::launch::{Dense, arg};
use crate::linear::Dropout;

/// Vectors of columns of a tile, one for each lane.
const LANES: usize = 32;
/// Rows of a tile that a unit works on.
const ROWS: usize = 8;
/// Rows of a tile.
const TILE_ROWS: usize = ROWS * UNITS / LANES;
const UNITS: usize = 256;
/// Of the rank, that is in shared memory at once.
const DEPTH: usize = 16;

/// `y += mask * (low · factor)`, where element (k, column) of the factor is at
/// `k * by_rank + column * by_column`.
#[cube(launch)]
fn kernel<F: Float, N: Size>(
    y: &mut [Vector<F, N>],
    low: &[F],
    factor: &[f32],
    rows: usize,
    vectors: usize,
    rank: usize,
    by_rank: usize,
    by_column: usize,
    seed_low: u32,
    seed_high: u32,
    threshold: u32,
    kept: f32,
    #[comptime] dropped: bool,
    #[define(F)] _elem: ElemType,
) {
    let lane = UNIT_POS as usize % LANES;
    let group = UNIT_POS as usize / LANES;
    let row0 = CUBE_POS_Y as usize * TILE_ROWS;
    let vector0 = CUBE_POS_X as usize * LANES;
    let mut factors = Shared::<[Vector<f32, N>]>::new_slice(comptime!(DEPTH * LANES));
    let mut lows = Shared::<[f32]>::new_slice(comptime!(TILE_ROWS * DEPTH));
    let mut sums = Array::<Vector<f32, N>>::new(ROWS);
    #[unroll]
    for i in 0..ROWS {
        sums[i] = Vector::zeroed();
    }
    let mut depth0 = 0usize;
    while depth0 < rank {
        let mut i = UNIT_POS as usize;
        while i < comptime!(DEPTH * LANES) {
            let k = depth0 + i / LANES;
            let vector = vector0 + i % LANES;
            let mut value = Vector::<f32, N>::zeroed();
            if k < rank && vector < vectors {
                #[unroll]
                for j in 0..value.vector_size() {
                    let column = vector * N::value() + j;
                    value.insert(j, factor[k * by_rank + column * by_column]);
                }
            }
            factors[i] = value;
            i += UNITS;
        }
        let mut i = UNIT_POS as usize;
        while i < comptime!(TILE_ROWS * DEPTH) {
            let row = row0 + i / DEPTH;
            let k = depth0 + i % DEPTH;
            let mut value = 0.0f32;
            if row < rows && k < rank {
                value = f32::cast_from(low[row * rank + k]);
            }
            lows[i] = value;
            i += UNITS;
        }
        sync_cube();
        for k in 0..DEPTH {
            let right = factors[k * LANES + lane];
            #[unroll]
            for i in 0..ROWS {
                let left = Vector::<f32, N>::new(lows[(group * ROWS + i) * DEPTH + k]);
                sums[i] += left * right;
            }
        }
        sync_cube();
        depth0 += DEPTH;
    }
    let vector = vector0 + lane;
    #[unroll]
    for i in 0..ROWS {
        let row = row0 + group * ROWS + i;
        if row < rows && vector < vectors {
            let at = row * vectors + vector;
            let mut more = sums[i];
            if comptime!(dropped) {
                #[unroll]
                for j in 0..more.vector_size() {
                    let share = kept_share(
                        (at * N::value() + j) as u32,
                        seed_low,
                        seed_high,
                        threshold,
                        kept,
                    );
                    let value = more.extract(j);
                    more.insert(j, value * share);
                }
            }
            y[at] = Vector::cast_from(Vector::<f32, N>::cast_from(y[at]) + more);
        }
    }
}

/// What the rows of a factor are.
pub(super) enum Factor {
    /// `[rank, columns]`.
    ByRank(CubeTensor),
    /// `[columns, rank]`.
    ByColumn(CubeTensor),
}

/// Adds `low · factor`, with a mask, to `y`, which nobody else may hold. `y` is `[rows, columns]`, `low`
/// is `[rows, rank]` of the same type; the factor is f32.
pub(super) fn add(
    y: CubeTensor,
    low: CubeTensor,
    factor: Factor,
    dropout: Option<Dropout>,
) -> CubeTensor {
    let (y, low) = (Dense::new(y), Dense::new(low));
    let (rows, columns, rank) = (y.rows, y.width, low.width);
    let (factor, by_rank, by_column) = match factor {
        Factor::ByRank(factor) => (Dense::new(factor), columns, 1),
        Factor::ByColumn(factor) => (Dense::new(factor), 1, rank),
    };
    let size = y.vector_size(columns).min(4);
    let vectors = columns / size;
    if rows * vectors * rank > 0 {
        let dropped = dropout.is_some();
        let dropout = dropout.unwrap_or(Dropout { p: 0.0, seed: 0 });
        let (threshold, kept) = dropout.threshold_and_kept();
        kernel::launch(
            &y.client(),
            CubeCount::Static(
                vectors.div_ceil(LANES) as u32,
                rows.div_ceil(TILE_ROWS) as u32,
                1,
            ),
            CubeDim::new_1d(UNITS as u32),
            size,
            arg(&y.tensor),
            low.arg(),
            factor.arg(),
            rows,
            vectors,
            rank,
            by_rank,
            by_column,
            dropout.seed as u32,
            (dropout.seed >> 32) as u32,
            threshold,
            kept,
            dropped,
            y.elem(),
        );
    }
    y.tensor
}
