use cubecl::prelude::*;

use super::tiles::{Tiles, UNITS};

/// Copies rows of one head into a tile: row `rows[rows_start + i]` of `source` for each i, or where
/// `direct` row `rows_start + i`. Rows from `valid` on become zeros.
#[cube]
pub(super) fn load<F: Float, N: Size>(
    source: &[Vector<F, N>],
    rows: &[u32],
    rows_start: usize,
    valid: usize,
    width: usize,
    column0: usize,
    tile: &mut [F],
    #[comptime] direct: bool,
    #[comptime] tile_rows: usize,
    #[comptime] tiles: Tiles,
) {
    let vectors = comptime!(tiles.head_dim).runtime() / N::value();
    let (width, column0) = (width / N::value(), column0 / N::value());
    let mut i = UNIT_POS as usize;
    while i < tile_rows * vectors {
        let row = i / vectors;
        let column = i % vectors;
        let mut value = Vector::<F, N>::zeroed();
        if row < valid {
            let from = if comptime!(direct) {
                rows_start + row
            } else {
                rows[rows_start + row] as usize
            };
            value = source[from * width + column0 + column];
        }
        let to = row * comptime!(tiles.row) + column * N::value();
        if comptime!(tiles.tensor_cores) {
            let wide = tile.as_vectorized_mut().with_vector_size_mut::<N>();
            wide[to / N::value()] = value;
        } else {
            #[unroll]
            for j in 0..value.vector_size() {
                tile[to + j] = value.extract(j);
            }
        }
        i += UNITS;
    }
}
