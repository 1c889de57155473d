//! Attention over ragged batches. Whole sequences are worked on in blocks (`attention_blocks`); what is
//! here serves the others: generated tokens with the keys of those before, short sequences. A task is
//! one sequence's share of queries and one key-value head with all the query heads that share it, so
//! keys and values are read once for the group.

#![allow(unsafe_code)]

use super::attention_blocks;
use super::matmul::written;
use super::simd::{SharedMut, Simd, axpy, dot, exp, simd_fn, tanh};
use super::team;
use crate::segment::{AttentionShape, Segment};

/// Queries of one sequence that make a task.
const QUERY_BLOCK: usize = 32;

pub(super) fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: AttentionShape,
    segments: &[Segment],
) -> Vec<f32> {
    let is_whole = |s: &&Segment| attention_blocks::is_for(s);
    let (whole, others): (Vec<&Segment>, Vec<&Segment>) = segments.iter().partition(is_whole);
    // SAFETY: segments cover the queries (checked at the public function), and each writes its own.
    unsafe {
        written(q.len(), |out| {
            if !whole.is_empty() {
                attention_blocks::forward([q, k, v], shape, &whole, out);
            }
            one_by_one([q, k, v], shape, &others, out);
        })
    }
}

/// One query after the other.
fn one_by_one(
    [q, k, v]: [&[f32]; 3],
    shape: AttentionShape,
    segments: &[&Segment],
    out: SharedMut,
) {
    let tasks: Vec<(&Segment, usize, usize)> = segments
        .iter()
        .flat_map(|segment| {
            (0..segment.queries.len())
                .step_by(QUERY_BLOCK)
                .flat_map(move |first| {
                    (0..shape.num_kv_heads).map(move |kv_head| (*segment, first, kv_head))
                })
        })
        .collect();
    let work: usize = segments
        .iter()
        .map(|s| s.queries.len() * s.num_keys())
        .sum();
    let run = |&(segment, first, kv_head): &(&Segment, usize, usize)| {
        forward_task(q, k, v, out, shape, segment, first, kv_head);
    };
    if work * shape.num_heads * shape.head_dim < 100_000 {
        tasks.iter().for_each(run);
    } else {
        team::run(tasks.len(), |index| run(&tasks[index]));
    }
}

simd_fn! {
    fn forward_task(
        q: &[f32], k: &[f32], v: &[f32], out: SharedMut,
        shape: AttentionShape, segment: &Segment, first: usize, kv_head: usize,
    ) = forward_body
}

/// cap * tanh(score / cap) in place.
#[inline(always)]
pub(super) fn soft_cap(scores: &mut [f32], cap: f32) {
    for s in scores.iter_mut() {
        *s = cap * tanh(*s / cap);
    }
}

/// exp(score - max) / sum in place.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    let max = scores
        .iter()
        .fold(f32::NEG_INFINITY, |max, &s| if s > max { s } else { max });
    for s in scores.iter_mut() {
        *s = exp(*s - max);
    }
    let mut lanes = [0.0f32; 16];
    let chunks = scores.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, s) in lanes.iter_mut().zip(chunk) {
            *lane += s;
        }
    }
    let factor = 1.0 / (lanes.iter().sum::<f32>() + rest);
    for s in scores.iter_mut() {
        *s *= factor;
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn forward_body<S: Simd>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: SharedMut,
    shape: AttentionShape,
    segment: &Segment,
    first: usize,
    kv_head: usize,
) {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        scale,
        ..
    } = shape;
    let group = num_heads / num_kv_heads;
    let (q_width, kv_width) = (num_heads * head_dim, num_kv_heads * head_dim);
    let last = (first + QUERY_BLOCK).min(segment.queries.len());
    let rows: Vec<usize> = segment.keys.iter().cloned().flatten().collect();
    let num_keys = rows.len();
    let mut scores = vec![0.0f32; group * num_keys];
    for i in first..last {
        let visible = shape.visible(segment.queries.len(), num_keys, i);
        let row = (segment.queries.start + i) * q_width + kv_head * group * head_dim;
        // SAFETY: query rows lie within q and out, key rows within k and v (checked at the public
        // function); each task writes the rows and heads of its own.
        unsafe {
            let query = q.as_ptr().add(row);
            for (at, key_row) in visible.clone().zip(&rows[visible.clone()]) {
                let key = k.as_ptr().add(key_row * kv_width + kv_head * head_dim);
                for g in 0..group {
                    *scores.as_mut_ptr().add(g * num_keys + at) =
                        scale * dot::<S>(query.add(g * head_dim), key, head_dim);
                }
            }
            for g in 0..group {
                let scores = &mut scores[g * num_keys..][visible.clone()];
                if let Some(cap) = shape.softcap {
                    soft_cap(scores, cap);
                }
                softmax(scores);
            }
            let values = v.as_ptr().add(kv_head * head_dim);
            for g in 0..group {
                let shares = scores[g * num_keys..][visible.clone()].iter();
                let shares = shares.zip(&rows[visible.clone()]);
                let shares = shares.map(|(p, row)| (*p, values.add(row * kv_width)));
                weighted_sum::<S>(shares, out.at(row + g * head_dim), head_dim);
            }
        }
    }
}

/// The sum of some vectors of `n` floats, each times its factor.
///
/// # Safety
///
/// The vectors are readable and `to` is writable for `n` floats; see [`Simd`] for the CPU.
#[inline(always)]
unsafe fn weighted_sum<S: Simd>(
    vectors: impl Iterator<Item = (f32, *const f32)> + Clone,
    to: *mut f32,
    n: usize,
) {
    // SAFETY: every index is below n.
    unsafe {
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            let mut sums = [S::zero(); 4];
            for (factor, x) in vectors.clone() {
                let factor = S::splat(factor);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(factor, S::load(x.add(i + j * S::LANES)), *sum);
                }
            }
            for (j, sum) in sums.into_iter().enumerate() {
                S::store(to.add(i + j * S::LANES), sum);
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= n {
            let mut sum = S::zero();
            for (factor, x) in vectors.clone() {
                sum = S::fma(S::splat(factor), S::load(x.add(i)), sum);
            }
            S::store(to.add(i), sum);
            i += S::LANES;
        }
        while i < n {
            let sum = vectors
                .clone()
                .fold(0.0, |sum, (factor, x)| sum + factor * *x.add(i));
            *to.add(i) = sum;
            i += 1;
        }
    }
}

/// Gradients of q, k and v.
pub(super) fn backward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dy: &[f32],
    shape: AttentionShape,
    segments: &[Segment],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    // Key-value heads in parallel always; sequences too where no two of them share key rows.
    let mut ranges: Vec<_> = segments.iter().flat_map(|s| s.keys.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    let disjoint = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .all(|(a, b)| a.end <= b.start);
    let is_whole = |s: &&Segment| disjoint && attention_blocks::is_for(s);
    let (whole, others): (Vec<&Segment>, Vec<&Segment>) = segments.iter().partition(is_whole);
    let (mut dk, mut dv) = (vec![0.0; k.len()], vec![0.0; v.len()]);
    let [shared_dk, shared_dv] = [&mut dk, &mut dv].map(|x| SharedMut(x.as_mut_ptr()));
    let add = |dq: SharedMut| {
        let grads = (dq, shared_dk, shared_dv);
        let run = |segment: &Segment, kv_head: usize| {
            backward_task(q, k, v, dy, grads, shape, segment, kv_head);
        };
        if !whole.is_empty() {
            // SAFETY: the sequences lie within the tensors (checked at the public function) and share
            // no keys.
            unsafe {
                let grads = [dq, shared_dk, shared_dv];
                attention_blocks::backward([q, k, v], dy, shape, &whole, grads);
            }
        }
        if disjoint {
            team::run(others.len() * shape.num_kv_heads, |index| {
                let (segment, kv_head) = (index / shape.num_kv_heads, index % shape.num_kv_heads);
                run(others[segment], kv_head);
            });
        } else {
            team::run(shape.num_kv_heads, |kv_head| {
                others.iter().for_each(|segment| run(segment, kv_head));
            });
        }
    };
    let dq = if others.is_empty() && !whole.is_empty() {
        // SAFETY: segments cover the queries, and each of these writes its own.
        unsafe { written(q.len(), add) }
    } else {
        // The others add.
        let mut dq = vec![0.0; q.len()];
        add(SharedMut(dq.as_mut_ptr()));
        dq
    };
    (dq, dk, dv)
}

simd_fn! {
    fn backward_task(
        q: &[f32], k: &[f32], v: &[f32], dy: &[f32],
        grads: (SharedMut, SharedMut, SharedMut),
        shape: AttentionShape, segment: &Segment, kv_head: usize,
    ) = backward_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn backward_body<S: Simd>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dy: &[f32],
    (dq, dk, dv): (SharedMut, SharedMut, SharedMut),
    shape: AttentionShape,
    segment: &Segment,
    kv_head: usize,
) {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        scale,
        ..
    } = shape;
    let group = num_heads / num_kv_heads;
    let (q_width, kv_width) = (num_heads * head_dim, num_kv_heads * head_dim);
    let rows: Vec<usize> = segment.keys.iter().cloned().flatten().collect();
    let mut p = vec![0.0f32; rows.len()];
    let mut dp = vec![0.0f32; rows.len()];
    // What the soft-cap multiplies each score's gradient by.
    let mut slope = vec![1.0f32; rows.len()];
    for i in 0..segment.queries.len() {
        let visible = shape.visible(segment.queries.len(), rows.len(), i);
        let rows = &rows[visible.clone()];
        let p = &mut p[visible.clone()];
        let dp = &mut dp[visible.clone()];
        let slope = &mut slope[visible];
        for head in kv_head * group..(kv_head + 1) * group {
            let at = (segment.queries.start + i) * q_width + head * head_dim;
            // SAFETY: as in `forward_body`; key rows that two tasks share are not visited at the
            // same time (see `backward`).
            unsafe {
                let query = q.as_ptr().add(at);
                let grad = dy.as_ptr().add(at);
                for (j, row) in rows.iter().enumerate() {
                    let kv = row * kv_width + kv_head * head_dim;
                    p[j] = scale * dot::<S>(query, k.as_ptr().add(kv), head_dim);
                    dp[j] = dot::<S>(grad, v.as_ptr().add(kv), head_dim);
                }
                if let Some(cap) = shape.softcap {
                    soft_cap(p, cap);
                    for (slope, score) in slope.iter_mut().zip(&*p) {
                        *slope = 1.0 - (score / cap) * (score / cap);
                    }
                }
                softmax(p);
                let mean = dot::<S>(p.as_ptr(), dp.as_ptr(), p.len());
                for (j, row) in rows.iter().enumerate() {
                    let kv = row * kv_width + kv_head * head_dim;
                    let ds = p[j] * (dp[j] - mean) * slope[j] * scale;
                    axpy::<S>(p[j], grad, dv.at(kv), head_dim);
                    axpy::<S>(ds, query, dk.at(kv), head_dim);
                    axpy::<S>(ds, k.as_ptr().add(kv), dq.at(at), head_dim);
                }
            }
        }
    }
}
