use cubecl::prelude::*;

use super::load::load;
use super::plan::BLOCK;
use super::product::{Accumulator, scores};
use super::tiles::{GROUPS, LANES, Tiles};
use super::visibility::{key_range, logit, sees};

/// One cube for a block of queries of one head. The keys are gone through twice: first for the
/// logarithm of each query's sum of exponentials, then for the result, which needs no rescaling
/// that way and stays in the registers of tensor cores.
#[cube(launch)]
pub(super) fn forward<F: Float, N: Size>(
    q: &[Vector<F, N>],
    k: &[Vector<F, N>],
    v: &[Vector<F, N>],
    blocks: &[u32],
    key_rows: &[u32],
    y: &mut [F],
    log_sums: &mut [f32],
    heads: usize,
    kv_heads: usize,
    scale: f32,
    cap: f32,
    window: usize,
    #[comptime] tiles: Tiles,
    #[define(F)] _elem: ElemType,
) {
    let block = CUBE_POS_X as usize * BLOCK;
    let head = CUBE_POS_Y as usize;
    let row0 = blocks[block] as usize;
    let valid = blocks[block + 1] as usize;
    let position0 = blocks[block + 2] as usize;
    let num_keys = blocks[block + 3] as usize;
    let key0 = blocks[block + 4] as usize;
    let head_dim = comptime!(tiles.head_dim).runtime();
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let column0 = head * head_dim;
    let kv_column0 = head / (heads / kv_heads) * head_dim;

    let mut queries = Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.row, 32usize);
    let mut keys = Shared::<[F]>::new_aligned_slice(tiles.keys * tiles.row, 32usize);
    let mut products = Shared::<[f32]>::new_aligned_slice(tiles.queries * tiles.score_row, 32usize);
    let mut probabilities =
        Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.probability_row, 32usize);
    let mut sums = Shared::<[f32]>::new_slice(tiles.queries);

    let unit = UNIT_POS as usize;
    let lane = unit % LANES;
    let group = unit / LANES;
    let rows = comptime!(tiles.queries / GROUPS);
    let columns = comptime!(tiles.keys / LANES);
    let score_row = comptime!(tiles.score_row);

    load::<F, N>(
        q,
        key_rows,
        row0,
        valid,
        width,
        column0,
        &mut queries,
        true,
        tiles.queries,
        tiles,
    );
    let (start, end) = key_range(position0, valid, num_keys, window, tiles);

    let mut highest = Array::<f32>::new(rows);
    let mut totals = Array::<f32>::new(rows);
    #[unroll]
    for i in 0..rows {
        highest[i] = f32::new(-1e30);
        totals[i] = 0.0;
    }
    let mut first = start;
    while first < end {
        sync_cube();
        load::<F, N>(
            k,
            key_rows,
            key0 + first,
            min(num_keys - first, comptime!(tiles.keys).runtime()),
            kv_width,
            kv_column0,
            &mut keys,
            false,
            tiles.keys,
            tiles,
        );
        sync_cube();
        scores::<F>(&queries, &keys, &mut products, tiles);
        sync_cube();
        #[unroll]
        for i in 0..rows {
            let row = group * rows + i;
            #[unroll]
            for j in 0..columns {
                let column = lane + j * LANES;
                if sees(position0 + row, first + column, num_keys, window, tiles) {
                    let x = logit(products[row * score_row + column], scale, cap, tiles);
                    let most = max(highest[i], x);
                    totals[i] = totals[i] * (highest[i] - most).exp() + (x - most).exp();
                    highest[i] = most;
                }
            }
        }
        first += comptime!(tiles.keys);
    }

    // Over the lanes: first the highest, then the sums.
    sync_cube();
    #[unroll]
    for i in 0..rows {
        products[(group * rows + i) * score_row + lane] = highest[i];
    }
    sync_cube();
    if unit < comptime!(tiles.queries) {
        let mut most = products[unit * score_row];
        for j in 1..LANES {
            most = max(most, products[unit * score_row + j]);
        }
        sums[unit] = most;
    }
    sync_cube();
    #[unroll]
    for i in 0..rows {
        let row = group * rows + i;
        products[row * score_row + lane] = totals[i] * (highest[i] - sums[row]).exp();
    }
    sync_cube();
    if unit < comptime!(tiles.queries) {
        let mut total = 0.0f32;
        for j in 0..LANES {
            total += products[unit * score_row + j];
        }
        // Rows beyond the block see nothing.
        let mut log_sum = 0.0f32;
        if total > 0.0 {
            log_sum = sums[unit] + total.ln();
        }
        sums[unit] = log_sum;
        if unit < valid {
            log_sums[(row0 + unit) * heads + head] = log_sum;
        }
    }

    let mut result = Accumulator::new(tiles.queries, tiles);
    let mut first = start;
    while first < end {
        let left = min(num_keys - first, comptime!(tiles.keys).runtime());
        sync_cube();
        load::<F, N>(
            k,
            key_rows,
            key0 + first,
            left,
            kv_width,
            kv_column0,
            &mut keys,
            false,
            tiles.keys,
            tiles,
        );
        sync_cube();
        scores::<F>(&queries, &keys, &mut products, tiles);
        sync_cube();
        load::<F, N>(
            v,
            key_rows,
            key0 + first,
            left,
            kv_width,
            kv_column0,
            &mut keys,
            false,
            tiles.keys,
            tiles,
        );
        #[unroll]
        for i in 0..rows {
            let row = group * rows + i;
            #[unroll]
            for j in 0..columns {
                let column = lane + j * LANES;
                let mut p = 0.0f32;
                if row < valid && sees(position0 + row, first + column, num_keys, window, tiles) {
                    let x = logit(products[row * score_row + column], scale, cap, tiles);
                    p = (x - sums[row]).exp();
                }
                probabilities[row * comptime!(tiles.probability_row) + column] = F::cast_from(p);
            }
        }
        sync_cube();
        result.add::<F>(&probabilities, &keys, false, tiles);
        first += comptime!(tiles.keys);
    }
    result.write::<F>(
        y,
        key_rows,
        row0,
        valid,
        width,
        column0,
        &mut products,
        true,
        tiles.queries,
        tiles,
    );
}
