use burn::tensor::{Bool, Tensor, TensorData, activation};

use crate::error::{KernelError, check_type};
use crate::ops;
use crate::segment::{AttentionShape, Segment};

/// Scaled dot-product attention over sequences that stand one after another.
///
/// # Shapes
///
/// `q` is `[tokens, num_heads * head_dim]`, `k` and `v` are `[rows, num_kv_heads * head_dim]`, the
/// result has the shape of `q`. The segments' query rows follow one another and cover `q`.
///
/// # Errors
///
/// When the shapes do not fit or a segment points outside `k`.
///
/// # Source
///
/// Vaswani et al. 2017 with grouped queries (Ainslie et al. 2023), sliding windows (Jiang et al.
/// 2023) and soft-caps (Gemma 2, 2024). The backward pass recomputes the probabilities, as in Dao
/// et al. 2022.
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    shape: AttentionShape,
    segments: &[Segment],
) -> Result<Tensor<2>, KernelError> {
    shape.check(q.dims(), k.dims(), v.dims(), segments)?;
    check_type("attention", "k", &q, &k)?;
    check_type("attention", "v", &q, &v)?;
    if q.dims().contains(&0) {
        return Ok(q);
    }
    if crate::has_fused(&q) {
        return Ok(ops::attention(q, k, v, shape, segments.to_vec()));
    }
    Ok(reference(q, k, v, shape, segments))
}

/// The same in plain tensor operations, one sequence after another.
pub fn reference(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    shape: AttentionShape,
    segments: &[Segment],
) -> Tensor<2> {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        ..
    } = shape;
    let device = q.device();
    let group = num_heads / num_kv_heads;
    let outputs = segments
        .iter()
        .filter(|segment| !segment.queries.is_empty())
        .map(|segment| {
            let (n, m) = (segment.queries.len(), segment.num_keys());
            let gather = |t: &Tensor<2>| {
                let parts = segment.keys.iter().filter(|range| !range.is_empty());
                let parts = parts
                    .map(|range| t.clone().narrow(0, range.start, range.len()))
                    .collect();
                Tensor::cat(parts, 0)
                    .reshape([m, num_kv_heads, 1, head_dim])
                    .repeat_dim(2, group)
                    .reshape([m, num_heads, head_dim])
                    .swap_dims(0, 1)
            };
            let queries = q.clone().narrow(0, segment.queries.start, n);
            let queries = queries.reshape([n, num_heads, head_dim]).swap_dims(0, 1);
            let scores = queries.matmul(gather(&k).swap_dims(1, 2)) * shape.scale;
            let mut scores = match shape.softcap {
                Some(cap) => (scores / cap).tanh() * cap,
                None => scores,
            };
            if shape.causal {
                let hidden = (0..n).flat_map(|i| {
                    let visible = shape.visible(n, m, i);
                    (0..m).map(move |key| !visible.contains(&key))
                });
                let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [1, n, m]);
                let hidden =
                    Tensor::<3, Bool>::from_data(hidden, &device).expand([num_heads, n, m]);
                scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
            }
            activation::softmax(scores, 2)
                .matmul(gather(&v))
                .swap_dims(0, 1)
                .reshape([n, num_heads * head_dim])
        });
    Tensor::cat(outputs.collect(), 0)
}
