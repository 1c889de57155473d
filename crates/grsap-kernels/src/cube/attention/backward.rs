use cubecl::prelude::*;

use super::load::load;
use super::plan::BLOCK;
use super::product::{Accumulator, scores};
use super::tiles::{GROUPS, LANES, Tiles};
use super::visibility::{key_range, logit, sees, slope};

/// The sum over a head of `y * dy`, for every query and head: one unit each.
#[cube(launch)]
pub(super) fn row_products<F: Float, N: Size>(
    y: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    out: &mut [f32],
    vectors: usize,
    #[define(F)] _elem: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let mut sum = 0.0f32;
        for i in 0..vectors {
            let a = Vector::<f32, N>::cast_from(y[at * vectors + i]);
            let b = Vector::<f32, N>::cast_from(dy[at * vectors + i]);
            let product = a * b;
            #[unroll]
            for j in 0..product.vector_size() {
                sum += product.extract(j);
            }
        }
        out[at] = sum;
    }
}

/// One cube for a block of queries of one head.
#[cube(launch)]
pub(super) fn query_gradient<F: Float, N: Size>(
    q: &[Vector<F, N>],
    k: &[Vector<F, N>],
    v: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    blocks: &[u32],
    key_rows: &[u32],
    log_sums: &[f32],
    row_products: &[f32],
    dq: &mut [F],
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
    let mut gradients = Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.row, 32usize);
    let mut keys = Shared::<[F]>::new_aligned_slice(tiles.keys * tiles.row, 32usize);
    let mut products = Shared::<[f32]>::new_aligned_slice(tiles.queries * tiles.score_row, 32usize);
    let mut by_scores =
        Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.probability_row, 32usize);

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
    load::<F, N>(
        dy,
        key_rows,
        row0,
        valid,
        width,
        column0,
        &mut gradients,
        true,
        tiles.queries,
        tiles,
    );
    let mut log_sum = Array::<f32>::new(rows);
    let mut along = Array::<f32>::new(rows);
    #[unroll]
    for i in 0..rows {
        let row = group * rows + i;
        log_sum[i] = 0.0;
        along[i] = 0.0;
        if row < valid {
            log_sum[i] = log_sums[(row0 + row) * heads + head];
            along[i] = row_products[(row0 + row) * heads + head];
        }
    }
    let (start, end) = key_range(position0, valid, num_keys, window, tiles);
    let mut result = Accumulator::new(tiles.queries, tiles);
    let mut weights = Array::<f32>::new(rows * columns);
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
        #[unroll]
        for i in 0..rows {
            let row = group * rows + i;
            #[unroll]
            for j in 0..columns {
                let column = lane + j * LANES;
                let mut weight = 0.0f32;
                if row < valid && sees(position0 + row, first + column, num_keys, window, tiles) {
                    let x = logit(products[row * score_row + column], scale, cap, tiles);
                    weight = (x - log_sum[i]).exp() * slope(x, scale, cap, tiles);
                }
                weights[i * columns + j] = weight;
            }
        }
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
        sync_cube();
        scores::<F>(&gradients, &keys, &mut products, tiles);
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
        #[unroll]
        for i in 0..rows {
            let row = group * rows + i;
            #[unroll]
            for j in 0..columns {
                let column = lane + j * LANES;
                let by_score =
                    weights[i * columns + j] * (products[row * score_row + column] - along[i]);
                by_scores[row * comptime!(tiles.probability_row) + column] = F::cast_from(by_score);
            }
        }
        sync_cube();
        result.add::<F>(&by_scores, &keys, false, tiles);
        first += comptime!(tiles.keys);
    }
    result.write::<F>(
        dq,
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

/// One cube for a block of keys of one head; it goes through the queries that see them, of all the
/// heads that share it.
#[cube(launch)]
pub(super) fn key_gradient<F: Float, N: Size>(
    q: &[Vector<F, N>],
    k: &[Vector<F, N>],
    v: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    blocks: &[u32],
    key_rows: &[u32],
    log_sums: &[f32],
    row_products: &[f32],
    dk: &mut [F],
    dv: &mut [F],
    heads: usize,
    kv_heads: usize,
    scale: f32,
    cap: f32,
    window: usize,
    #[comptime] tiles: Tiles,
    #[define(F)] _elem: ElemType,
) {
    let block = CUBE_POS_X as usize * BLOCK;
    let kv_head = CUBE_POS_Y as usize;
    let first_key = blocks[block] as usize;
    let valid_keys = blocks[block + 1] as usize;
    let num_keys = blocks[block + 2] as usize;
    let key0 = blocks[block + 3] as usize;
    let row0 = blocks[block + 4] as usize;
    let num_queries = blocks[block + 5] as usize;
    let head_dim = comptime!(tiles.head_dim).runtime();
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let kv_column0 = kv_head * head_dim;
    let sharing = heads / kv_heads;

    let mut keys = Shared::<[F]>::new_aligned_slice(tiles.keys * tiles.row, 32usize);
    let mut values = Shared::<[F]>::new_aligned_slice(tiles.keys * tiles.row, 32usize);
    let mut queries = Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.row, 32usize);
    let mut gradients = Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.row, 32usize);
    let mut products = Shared::<[f32]>::new_aligned_slice(tiles.queries * tiles.score_row, 32usize);
    let mut weighted =
        Shared::<[F]>::new_aligned_slice(tiles.queries * tiles.probability_row, 32usize);

    let unit = UNIT_POS as usize;
    let lane = unit % LANES;
    let group = unit / LANES;
    let rows = comptime!(tiles.queries / GROUPS);
    let columns = comptime!(tiles.keys / LANES);
    let score_row = comptime!(tiles.score_row);
    let probability_row = comptime!(tiles.probability_row);

    load::<F, N>(
        k,
        key_rows,
        key0 + first_key,
        valid_keys,
        kv_width,
        kv_column0,
        &mut keys,
        false,
        tiles.keys,
        tiles,
    );
    load::<F, N>(
        v,
        key_rows,
        key0 + first_key,
        valid_keys,
        kv_width,
        kv_column0,
        &mut values,
        false,
        tiles.keys,
        tiles,
    );

    // Query i is at the position `ahead + i` of its keys.
    let mut ahead = 0usize.runtime();
    if num_keys > num_queries {
        ahead = num_keys - num_queries;
    }
    let mut first_query = 0usize.runtime();
    let mut end_query = num_queries;
    if comptime!(tiles.causal) {
        if first_key > ahead {
            first_query = (first_key - ahead) / tiles.queries * tiles.queries;
        }
    }
    if comptime!(tiles.windowed) {
        let last_position = first_key + valid_keys - 1 + window;
        let mut beyond = 0usize.runtime();
        if last_position > ahead {
            beyond = last_position - ahead;
        }
        end_query = min(num_queries, beyond);
    }

    let mut by_keys = Accumulator::new(tiles.keys, tiles);
    let mut by_values = Accumulator::new(tiles.keys, tiles);
    let mut weights = Array::<f32>::new(rows * columns);
    for shared in 0..sharing {
        let head = kv_head * sharing + shared;
        let column0 = head * head_dim;
        let mut first = first_query;
        while first < end_query {
            let valid = min(num_queries - first, comptime!(tiles.queries).runtime());
            sync_cube();
            load::<F, N>(
                q,
                key_rows,
                row0 + first,
                valid,
                width,
                column0,
                &mut queries,
                true,
                tiles.queries,
                tiles,
            );
            load::<F, N>(
                dy,
                key_rows,
                row0 + first,
                valid,
                width,
                column0,
                &mut gradients,
                true,
                tiles.queries,
                tiles,
            );
            sync_cube();
            scores::<F>(&queries, &keys, &mut products, tiles);
            sync_cube();
            #[unroll]
            for i in 0..rows {
                let row = group * rows + i;
                let mut log_sum = 0.0f32;
                if row < valid {
                    log_sum = log_sums[(row0 + first + row) * heads + head];
                }
                #[unroll]
                for j in 0..columns {
                    let column = lane + j * LANES;
                    let mut p = 0.0f32;
                    let mut weight = 0.0f32;
                    let position = ahead + first + row;
                    if row < valid
                        && column < valid_keys
                        && sees(position, first_key + column, num_keys, window, tiles)
                    {
                        let x = logit(products[row * score_row + column], scale, cap, tiles);
                        p = (x - log_sum).exp();
                        weight = p * slope(x, scale, cap, tiles);
                    }
                    weights[i * columns + j] = weight;
                    weighted[row * probability_row + column] = F::cast_from(p);
                }
            }
            sync_cube();
            by_values.add::<F>(&weighted, &gradients, true, tiles);
            scores::<F>(&gradients, &values, &mut products, tiles);
            sync_cube();
            #[unroll]
            for i in 0..rows {
                let row = group * rows + i;
                let mut along = 0.0f32;
                if row < valid {
                    along = row_products[(row0 + first + row) * heads + head];
                }
                #[unroll]
                for j in 0..columns {
                    let column = lane + j * LANES;
                    let by_score =
                        weights[i * columns + j] * (products[row * score_row + column] - along);
                    weighted[row * probability_row + column] = F::cast_from(by_score);
                }
            }
            sync_cube();
            by_keys.add::<F>(&weighted, &queries, true, tiles);
            first += comptime!(tiles.queries);
        }
    }
    by_keys.write::<F>(
        dk,
        key_rows,
        key0 + first_key,
        valid_keys,
        kv_width,
        kv_column0,
        &mut products,
        false,
        tiles.keys,
        tiles,
    );
    by_values.write::<F>(
        dv,
        key_rows,
        key0 + first_key,
        valid_keys,
        kv_width,
        kv_column0,
        &mut products,
        false,
        tiles.keys,
        tiles,
    );
}
