//! Products of tiles, by tensor cores or by the units themselves.

use cubecl::cmma;
use cubecl::prelude::*;

use super::tiles::{GROUPS, LANES, Tiles};

/// Edge of the matrices that tensor cores take.
const EDGE: usize = 16;

/// `out = a · bᵀ` for tiles of queries and keys; a group writes its own rows.
#[cube]
pub(super) fn scores<F: Float>(a: &[F], b: &[F], out: &mut [f32], #[comptime] tiles: Tiles) {
    let row = comptime!(tiles.row);
    let score_row = comptime!(tiles.score_row);
    let group = UNIT_POS as usize / LANES;
    if comptime!(tiles.tensor_cores) {
        let first = group * EDGE;
        let columns = comptime!(tiles.keys / EDGE);
        let depth = comptime!(tiles.head_dim / EDGE);
        let mut sums = Sequence::<cmma::Matrix<f32>>::new();
        #[unroll]
        for _ in 0..columns {
            sums.push(zeros());
        }
        #[unroll]
        for k in 0..depth {
            let left = matrix::<F>(
                cmma::MatrixIdent::A,
                cmma::MatrixLayout::RowMajor,
                a,
                first * row + k * EDGE,
                comptime!(row as u32),
            );
            #[unroll]
            for column in 0..columns {
                let right = matrix::<F>(
                    cmma::MatrixIdent::B,
                    cmma::MatrixLayout::ColMajor,
                    b,
                    column * EDGE * row + k * EDGE,
                    comptime!(row as u32),
                );
                let sum = sums.index(column);
                cmma::execute(&left, &right, sum, sum);
            }
        }
        #[unroll]
        for column in 0..columns {
            let start = first * score_row + column * EDGE;
            let end = out.len();
            cmma::store(
                &mut out[start..end],
                sums.index(column),
                comptime!(score_row as u32),
                cmma::MatrixLayout::RowMajor,
            );
        }
    } else {
        let rows = comptime!(tiles.queries / GROUPS);
        let columns = comptime!(tiles.keys / LANES);
        let lane = UNIT_POS as usize % LANES;
        let mut sums = Array::<f32>::new(rows * columns);
        #[unroll]
        for i in 0..rows * columns {
            sums[i] = 0.0;
        }
        for k in 0..comptime!(tiles.head_dim) {
            #[unroll]
            for column in 0..columns {
                let right = f32::cast_from(b[(lane + column * LANES) * row + k]);
                #[unroll]
                for i in 0..rows {
                    let left = f32::cast_from(a[(group * rows + i) * row + k]);
                    sums[i * columns + column] += left * right;
                }
            }
        }
        #[unroll]
        for i in 0..rows {
            #[unroll]
            for column in 0..columns {
                out[(group * rows + i) * score_row + lane + column * LANES] =
                    sums[i * columns + column];
            }
        }
    }
}

#[cube]
fn zeros() -> cmma::Matrix<f32> {
    cmma::Matrix::<f32>::from_value(
        cmma::MatrixIdent::Accumulator,
        EDGE,
        EDGE,
        EDGE,
        cmma::MatrixLayout::Undefined,
        0.0,
    )
}

#[cube]
fn matrix<F: Float>(
    #[comptime] ident: cmma::MatrixIdent,
    #[comptime] layout: cmma::MatrixLayout,
    source: &[F],
    start: usize,
    #[comptime] stride: u32,
) -> cmma::Matrix<F> {
    let end = source.len();
    cmma::Matrix::<F>::from_slice(ident, EDGE, EDGE, EDGE, layout, &source[start..end], stride)
}

/// A sum of products of tiles, `[rows, head_dim]` in f32, held in registers.
#[derive(CubeType)]
pub(super) struct Accumulator {
    matrices: Sequence<cmma::Matrix<f32>>,
    values: Array<f32>,
}

#[cube]
impl Accumulator {
    /// Zero, for a tile with so many rows.
    pub(super) fn new(#[comptime] rows: usize, #[comptime] tiles: Tiles) -> Accumulator {
        let mut matrices = Sequence::<cmma::Matrix<f32>>::new();
        if comptime!(tiles.tensor_cores) {
            #[unroll]
            for _ in 0..comptime!(tiles.head_dim / EDGE) {
                matrices.push(zeros());
            }
        }
        let len = comptime!(if tiles.tensor_cores {
            1
        } else {
            rows / GROUPS * (tiles.head_dim / LANES)
        });
        let mut values = Array::<f32>::new(len);
        #[unroll]
        for i in 0..len {
            values[i] = 0.0;
        }
        Accumulator { matrices, values }
    }

    /// Adds `a · b`, or `aᵀ · b`; `a` is a tile of probabilities.
    pub(super) fn add<F: Float>(
        &mut self,
        a: &[F],
        b: &[F],
        #[comptime] transposed: bool,
        #[comptime] tiles: Tiles,
    ) {
        let row = comptime!(tiles.row);
        let a_row = comptime!(tiles.probability_row);
        let rows = comptime!(if transposed {
            tiles.keys
        } else {
            tiles.queries
        });
        let depth = comptime!(if transposed {
            tiles.queries
        } else {
            tiles.keys
        });
        let group = UNIT_POS as usize / LANES;
        if comptime!(tiles.tensor_cores) {
            let first = group * EDGE;
            #[unroll]
            for k in 0..comptime!(depth / EDGE) {
                let (start, layout) = if comptime!(transposed) {
                    (
                        k * EDGE * a_row + first,
                        comptime!(cmma::MatrixLayout::ColMajor),
                    )
                } else {
                    (
                        first * a_row + k * EDGE,
                        comptime!(cmma::MatrixLayout::RowMajor),
                    )
                };
                let left = matrix::<F>(
                    cmma::MatrixIdent::A,
                    layout,
                    a,
                    start,
                    comptime!(a_row as u32),
                );
                #[unroll]
                for column in 0..comptime!(tiles.head_dim / EDGE) {
                    let right = matrix::<F>(
                        cmma::MatrixIdent::B,
                        cmma::MatrixLayout::RowMajor,
                        b,
                        k * EDGE * row + column * EDGE,
                        comptime!(row as u32),
                    );
                    let sum = self.matrices.index(column);
                    cmma::execute(&left, &right, sum, sum);
                }
            }
        } else {
            let own = comptime!(rows / GROUPS);
            let columns = comptime!(tiles.head_dim / LANES);
            let lane = UNIT_POS as usize % LANES;
            for k in 0..depth {
                #[unroll]
                for i in 0..own {
                    let at = group * own + i;
                    let left = if comptime!(transposed) {
                        f32::cast_from(a[k * a_row + at])
                    } else {
                        f32::cast_from(a[at * a_row + k])
                    };
                    #[unroll]
                    for column in 0..columns {
                        let right = f32::cast_from(b[k * row + lane + column * LANES]);
                        self.values[i * columns + column] += left * right;
                    }
                }
            }
        }
    }

    /// Writes the first `valid` rows to `out`: row i to `rows[rows_start + i]`, or where `direct`
    /// to `rows_start + i`. Every unit must call it; it overwrites `scratch`, a tile of scores.
    pub(super) fn write<F: Float>(
        &self,
        out: &mut [F],
        rows: &[u32],
        rows_start: usize,
        valid: usize,
        width: usize,
        column0: usize,
        scratch: &mut [f32],
        #[comptime] direct: bool,
        #[comptime] tile_rows: usize,
        #[comptime] tiles: Tiles,
    ) {
        let own = comptime!(tile_rows / GROUPS);
        let group = UNIT_POS as usize / LANES;
        let lane = UNIT_POS as usize % LANES;
        if comptime!(tiles.tensor_cores) {
            let score_row = comptime!(tiles.score_row);
            let piece = comptime!(2 * LANES);
            #[unroll]
            for part in 0..comptime!(tiles.head_dim.div_ceil(piece)) {
                sync_cube();
                #[unroll]
                for i in 0..comptime!(piece / EDGE) {
                    let column = comptime!(part * (piece / EDGE) + i);
                    if comptime!(column < tiles.head_dim / EDGE) {
                        let start = group * EDGE * score_row + i * EDGE;
                        let end = scratch.len();
                        cmma::store(
                            &mut scratch[start..end],
                            self.matrices.index(column),
                            comptime!(score_row as u32),
                            cmma::MatrixLayout::RowMajor,
                        );
                    }
                }
                sync_cube();
                for i in 0..own {
                    let at = group * own + i;
                    if at < valid {
                        let to = target(rows, rows_start, at, direct) * width + column0;
                        #[unroll]
                        for half in 0..2usize {
                            let column = comptime!(part * piece + half * LANES);
                            if comptime!(column < tiles.head_dim) {
                                out[to + column + lane] =
                                    F::cast_from(scratch[at * score_row + half * LANES + lane]);
                            }
                        }
                    }
                }
            }
        } else {
            let columns = comptime!(tiles.head_dim / LANES);
            #[unroll]
            for i in 0..own {
                let at = group * own + i;
                if at < valid {
                    let to = target(rows, rows_start, at, direct) * width + column0;
                    #[unroll]
                    for column in 0..columns {
                        out[to + lane + column * LANES] =
                            F::cast_from(self.values[i * columns + column]);
                    }
                }
            }
        }
    }
}

#[cube]
fn target(rows: &[u32], start: usize, at: usize, #[comptime] direct: bool) -> usize {
    if comptime!(direct) {
        start + at
    } else {
        rows[start + at] as usize
    }
}
