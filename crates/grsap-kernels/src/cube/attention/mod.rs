//! Attention in one kernel forward and two backward: nothing of the size of queries times keys is
//! ever in memory, and sequences of any lengths are one launch.

mod backward;
mod fallback;
mod forward;
mod load;
mod plan;
mod product;
mod tiles;
mod visibility;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{Dense, arg, elementwise, indices};
use crate::segment::{AttentionShape, Segment};
use plan::{BLOCK, Plan, window};
use tiles::{Held, Tiles, UNITS};

/// The result and the logarithms of the sums `[queries, heads]`; those are empty where the kernel
/// did not run.
pub(super) fn forward(
    [q, k, v]: [CubeTensor; 3],
    shape: AttentionShape,
    segments: &[Segment],
) -> (CubeTensor, Vec<CubeTensor>) {
    let Some(tiles) = Tiles::choose(&q, &shape, Held::Forward) else {
        return (fallback::forward([q, k, v], shape, segments), Vec::new());
    };
    let [q, k, v] = [q, k, v].map(Dense::new);
    let y = q.empty_like();
    let log_sums = q.empty([q.rows, shape.num_heads], DType::F32);
    let plan = Plan::new(segments, tiles.queries, tiles.keys);
    let client = q.client();
    let (blocks, blocks_len) = indices(&client, &plan.query_blocks);
    let (key_rows, key_rows_len) = indices(&client, &plan.key_rows);
    forward::forward::launch(
        &client,
        cubes(plan.query_blocks.len(), shape.num_heads),
        CubeDim::new_1d(UNITS as u32),
        vector_size(&[&q, &k, &v], &shape),
        q.arg(),
        k.arg(),
        v.arg(),
        // As long as the buffers that were just made.
        unsafe { BufferArg::from_raw_parts(blocks, blocks_len) },
        unsafe { BufferArg::from_raw_parts(key_rows, key_rows_len) },
        arg(&y),
        arg(&log_sums),
        shape.num_heads,
        shape.num_kv_heads,
        shape.scale,
        shape.softcap.unwrap_or(1.0),
        window(&shape),
        tiles,
        q.elem(),
    );
    (y.clone(), vec![y, log_sums])
}

/// The gradients of queries, keys and values. `kept` is what [`forward`] gave.
pub(super) fn backward(
    [q, k, v]: [CubeTensor; 3],
    kept: Vec<CubeTensor>,
    dy: CubeTensor,
    shape: AttentionShape,
    segments: &[Segment],
) -> [CubeTensor; 3] {
    let for_queries = Tiles::choose(&q, &shape, Held::QueryGradient);
    let for_keys = Tiles::choose(&q, &shape, Held::KeyGradient);
    let (Some(for_queries), Some(for_keys), Ok([y, log_sums])) =
        (for_queries, for_keys, <[CubeTensor; 2]>::try_from(kept))
    else {
        return fallback::backward([q, k, v], dy, shape, segments);
    };
    let plan = Plan::new(segments, for_queries.queries, for_keys.keys);
    if plan.shares_keys(k.meta.shape()[0]) {
        return fallback::backward([q, k, v], dy, shape, segments);
    }
    let [q, k, v, dy, y] = [q, k, v, dy, y].map(Dense::new);
    let client = q.client();
    let size = vector_size(&[&q, &k, &v, &dy], &shape);
    let row_products = q.empty([q.rows, shape.num_heads], DType::F32);
    let (count, dim) = elementwise(&client, q.rows * shape.num_heads);
    backward::row_products::launch(
        &client,
        count,
        dim,
        size,
        y.arg(),
        dy.arg(),
        arg(&row_products),
        shape.head_dim / size,
        q.elem(),
    );
    let (query_blocks, query_blocks_len) = indices(&client, &plan.query_blocks);
    let (key_blocks, key_blocks_len) = indices(&client, &plan.key_blocks);
    let (key_rows, key_rows_len) = indices(&client, &plan.key_rows);
    let (dq, dk, dv) = (q.empty_like(), k.empty_like(), v.empty_like());
    backward::query_gradient::launch(
        &client,
        cubes(plan.query_blocks.len(), shape.num_heads),
        CubeDim::new_1d(UNITS as u32),
        size,
        q.arg(),
        k.arg(),
        v.arg(),
        dy.arg(),
        // As long as the buffers that were just made; here and below.
        unsafe { BufferArg::from_raw_parts(query_blocks, query_blocks_len) },
        unsafe { BufferArg::from_raw_parts(key_rows.clone(), key_rows_len) },
        arg(&log_sums),
        arg(&row_products),
        arg(&dq),
        shape.num_heads,
        shape.num_kv_heads,
        shape.scale,
        shape.softcap.unwrap_or(1.0),
        window(&shape),
        for_queries,
        q.elem(),
    );
    backward::key_gradient::launch(
        &client,
        cubes(plan.key_blocks.len(), shape.num_kv_heads),
        CubeDim::new_1d(UNITS as u32),
        size,
        q.arg(),
        k.arg(),
        v.arg(),
        dy.arg(),
        unsafe { BufferArg::from_raw_parts(key_blocks, key_blocks_len) },
        unsafe { BufferArg::from_raw_parts(key_rows, key_rows_len) },
        arg(&log_sums),
        arg(&row_products),
        arg(&dk),
        arg(&dv),
        shape.num_heads,
        shape.num_kv_heads,
        shape.scale,
        shape.softcap.unwrap_or(1.0),
        window(&shape),
        for_keys,
        q.elem(),
    );
    [dq, dk, dv]
}

fn cubes(numbers: usize, heads: usize) -> CubeCount {
    CubeCount::Static((numbers / BLOCK) as u32, heads as u32, 1)
}

/// A head must fall into whole vectors.
fn vector_size(tensors: &[&Dense], shape: &AttentionShape) -> usize {
    let sizes = tensors.iter().map(|t| t.vector_size(shape.head_dim));
    sizes.min().unwrap_or(1)
}
