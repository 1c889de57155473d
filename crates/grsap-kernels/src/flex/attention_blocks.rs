//! Attention of whole sequences, in products of small matrices: queries times keys in blocks, so that
//! what is worked on stays in the nearest caches. Keys and values are packed once for each sequence and
//! key-value head.
//!
//! Blocks begin at fixed places of a sequence, and what a query does not see is multiplied by zero. So a
//! token's numbers depend on the tokens before it alone, not on those behind or on the number of threads.

#![allow(unsafe_code)]

use std::ops::Range;

use super::attention::{soft_cap, softmax};
use super::matmul::Store;
use super::packed::blocks::{Block, Kernel, PANEL, Row, Word, f32_kernel};
use super::simd::{SharedMut, Simd, simd_fn};
use super::team;
use crate::segment::{AttentionShape, Segment};

/// Queries at a time: two tiles of the largest kernel.
const QUERIES: usize = 28;

/// Sequences below this are not worth packing.
const SHORTEST: usize = 16;

/// Whether this is the way for a sequence: all its keys are its own, in one piece.
pub(super) fn is_for(segment: &Segment) -> bool {
    segment.queries.len() >= SHORTEST
        && matches!(segment.keys.as_slice(), [keys] if keys.len() == segment.queries.len())
}

/// Rows of one head: `len` rows from `first` on, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    first: usize,
    len: usize,
    /// Where the head begins in a row.
    head: usize,
    head_dim: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, index: usize) -> &'a [f32] {
        &self.values[(self.first + index) * self.stride + self.head..][..self.head_dim]
    }

    /// Panels with the rows as columns: a row for each place in the head.
    fn as_columns(&self) -> Vec<Row<f32>> {
        let (panels, depth) = (self.len.div_ceil(PANEL), self.head_dim);
        let mut packed = vec![Row::ZERO; panels * depth];
        for (panel, to) in packed.chunks_exact_mut(depth).enumerate() {
            let rows = panel * PANEL..((panel + 1) * PANEL).min(self.len);
            for (index, to) in to.chunks_mut(PANEL).enumerate() {
                let mut from = [Row::ZERO; PANEL];
                for (from, row) in from.iter_mut().zip(rows.clone()) {
                    let part = &self.row(row)[index * PANEL..][..to.len()];
                    from.0[..to.len()].copy_from_slice(part);
                }
                let mut turned = [Row::ZERO; PANEL];
                f32::exchange(&from, &mut turned);
                to.copy_from_slice(&turned[..to.len()]);
            }
        }
        packed
    }

    /// Panels with the places of the head as columns, for `block` rows after the others.
    fn as_rows(&self, block: usize) -> Vec<Row<f32>> {
        let panels = self.head_dim.div_ceil(PANEL);
        let mut packed = vec![Row::ZERO; self.len.div_ceil(block) * panels * block];
        for (index, to) in packed.chunks_exact_mut(panels * block).enumerate() {
            for (panel, to) in to.chunks_exact_mut(block).enumerate() {
                let rows = index * block..((index + 1) * block).min(self.len);
                for (to, row) in to.iter_mut().zip(rows) {
                    let from = &self.row(row)[panel * PANEL..];
                    let len = from.len().min(PANEL);
                    to.0[..len].copy_from_slice(&from[..len]);
                }
            }
        }
        packed
    }
}

/// Keys and values of one sequence and head.
#[derive(Default)]
struct Packed {
    key_columns: Vec<Row<f32>>,
    value_columns: Vec<Row<f32>>,
    key_rows: Vec<Row<f32>>,
    value_rows: Vec<Row<f32>>,
}

/// One call.
struct Job<'a> {
    k: &'a [f32],
    v: &'a [f32],
    shape: AttentionShape,
    segments: &'a [&'a Segment],
    kernel: Kernel<f32>,
}

impl Job<'_> {
    fn widths(&self) -> (usize, usize) {
        let AttentionShape {
            num_heads,
            num_kv_heads,
            head_dim,
            ..
        } = self.shape;
        (num_heads * head_dim, num_kv_heads * head_dim)
    }

    /// The queries of a sequence, or what has their shape.
    fn of_head<'b>(&self, values: &'b [f32], segment: &Segment, head: usize) -> Rows<'b> {
        Rows {
            values,
            stride: self.widths().0,
            first: segment.queries.start,
            len: segment.queries.len(),
            head: head * self.shape.head_dim,
            head_dim: self.shape.head_dim,
        }
    }

    /// The same of keys.
    fn of_kv_head<'b>(&self, values: &'b [f32], segment: &Segment, head: usize) -> Rows<'b> {
        Rows {
            stride: self.widths().1,
            first: segment.keys.first().map_or(0, |keys| keys.start),
            ..self.of_head(values, segment, head)
        }
    }

    /// For each sequence and key-value head.
    fn packed(&self, for_gradients: bool) -> Vec<Packed> {
        let heads = self.shape.num_kv_heads;
        let mut all = Vec::new();
        all.resize_with(self.segments.len() * heads, Packed::default);
        team::run_parts(&mut all, 1, |index, packed| {
            let (segment, head) = (self.segments[index / heads], index % heads);
            let keys = self.of_kv_head(self.k, segment, head);
            let values = self.of_kv_head(self.v, segment, head);
            for packed in packed {
                packed.key_columns = keys.as_columns();
                if for_gradients {
                    packed.value_columns = values.as_columns();
                    packed.key_rows = keys.as_rows(PANEL);
                } else {
                    packed.value_rows = values.as_rows(PANEL);
                }
            }
        });
        all
    }

    /// Blocks of keys that some of the queries see.
    fn visible_blocks(&self, queries: Range<usize>, len: usize) -> Range<usize> {
        let first = self.shape.visible(len, len, queries.start);
        let last = self.shape.visible(len, len, queries.end - 1);
        first.start / PANEL..last.end.div_ceil(PANEL)
    }

    /// `rows · columnsᵀ`, for the blocks of keys: `[queries, 32 x blocks]`.
    ///
    /// # Safety
    ///
    /// `to` has room for them.
    unsafe fn products(
        &self,
        rows: Rows<'_>,
        queries: Range<usize>,
        columns: &[Row<f32>],
        blocks: Range<usize>,
        to: &mut [f32],
    ) {
        let depth = self.shape.head_dim;
        let (m, width) = (queries.len(), blocks.len() * PANEL);
        assert!(to.len() >= m * width);
        let columns = &columns[blocks.start * depth..blocks.end * depth];
        let block = Block {
            a: &rows.values[(rows.first + queries.start) * rows.stride + rows.head..],
            a_stride: rows.stride,
            b: columns,
            depth,
            c: SharedMut(to.as_mut_ptr()),
            c_stride: width,
            n: width,
            rows: (0, m),
            panels: (0, blocks.len()),
            into: Store::Overwrite,
        };
        // SAFETY: the queries are rows of a, the panels those of b, and `to` is long enough.
        unsafe { self.kernel.run(&block) };
    }

    /// `to[m, head] (+)= factors[m, 32 x blocks] · rows`, block by block.
    ///
    /// # Safety
    ///
    /// `to` has `m` rows of `head_dim` places, `to_stride` apart, which nothing else touches.
    #[allow(clippy::too_many_arguments)]
    unsafe fn add_products(
        &self,
        factors: &[f32],
        m: usize,
        rows: &[Row<f32>],
        depth: usize,
        blocks: Range<usize>,
        (to, to_stride): (*mut f32, usize),
        mut into: Store,
    ) {
        let panels = self.shape.head_dim.div_ceil(PANEL);
        let stride = blocks.len() * depth;
        assert!(factors.len() >= m * stride);
        for (index, block) in blocks.enumerate() {
            let block = Block {
                a: &factors[index * depth..],
                a_stride: stride,
                b: &rows[block * panels * depth..][..panels * depth],
                depth,
                c: SharedMut(to),
                c_stride: to_stride,
                n: self.shape.head_dim,
                rows: (0, m),
                panels: (0, panels),
                into,
            };
            // SAFETY: m rows of a were checked; b has the panels; `to` is the caller's word.
            unsafe { self.kernel.run(&block) };
            into = Store::Accumulate;
        }
    }
}

/// Writes the rows of the sequences.
///
/// # Safety
///
/// The sequences are as [`is_for`] asks, lie within q, k, v and `out`, and nothing else touches their
/// rows.
pub(super) unsafe fn forward(
    [q, k, v]: [&[f32]; 3],
    shape: AttentionShape,
    segments: &[&Segment],
    out: SharedMut,
) {
    let job = Job {
        k,
        v,
        shape,
        segments,
        kernel: f32_kernel(),
    };
    let group = shape.num_heads / shape.num_kv_heads;
    let packed = job.packed(false);
    let tasks: Vec<_> = segments
        .iter()
        .enumerate()
        .flat_map(|(index, segment)| {
            let blocks = (0..segment.queries.len()).step_by(QUERIES);
            blocks.flat_map(move |first| (0..shape.num_heads).map(move |head| (index, first, head)))
        })
        .collect();
    team::run(tasks.len(), |task| {
        let (index, first, head) = tasks[task];
        let segment = segments[index];
        let packed = &packed[index * shape.num_kv_heads + head / group];
        let len = segment.queries.len();
        let queries = first..(first + QUERIES).min(len);
        let blocks = job.visible_blocks(queries.clone(), len);
        let mut shares = vec![0.0; queries.len() * blocks.len() * PANEL];
        let rows = job.of_head(q, segment, head);
        let (width, _) = job.widths();
        // SAFETY: `shares` has the size; the rows of `out` belong to this task.
        unsafe {
            job.products(
                rows,
                queries.clone(),
                &packed.key_columns,
                blocks.clone(),
                &mut shares,
            );
            to_shares(
                &mut shares,
                shape,
                queries.clone(),
                len,
                blocks.start * PANEL,
            );
            let to = out.at((segment.queries.start + first) * width + rows.head);
            let m = queries.len();
            let to = (to, width);
            job.add_products(
                &shares,
                m,
                &packed.value_rows,
                PANEL,
                blocks,
                to,
                Store::Overwrite,
            );
        }
    });
}

/// What a query sees of a row of blocks; the rest becomes zero.
#[inline(always)]
fn seen(row: &mut [f32], visible: Range<usize>, first_key: usize) -> &mut [f32] {
    let (before, rest) = row.split_at_mut(visible.start - first_key);
    let (seen, behind) = rest.split_at_mut(visible.len());
    before.fill(0.0);
    behind.fill(0.0);
    seen
}

/// Products to scores, in place.
#[inline(always)]
fn to_scores(products: &mut [f32], shape: AttentionShape) {
    products.iter_mut().for_each(|score| *score *= shape.scale);
    if let Some(cap) = shape.softcap {
        soft_cap(products, cap);
    }
}

simd_fn! {
    fn to_shares(
        scores: &mut [f32], shape: AttentionShape, queries: Range<usize>, len: usize, first_key: usize,
    ) = to_shares_body
}

/// Products to shares, zero where a query does not see.
#[inline(always)]
unsafe fn to_shares_body<S: Simd>(
    scores: &mut [f32],
    shape: AttentionShape,
    queries: Range<usize>,
    len: usize,
    first_key: usize,
) {
    let width = scores.len() / queries.len();
    for (scores, query) in scores.chunks_exact_mut(width).zip(queries) {
        let scores = seen(scores, shape.visible(len, len, query), first_key);
        to_scores(scores, shape);
        softmax(scores);
    }
}

simd_fn! {
    fn to_gradients(
        scores: &mut [f32], dshares: &mut [f32], shape: AttentionShape, queries: Range<usize>,
        len: usize, first_key: usize,
    ) = to_gradients_body
}

/// Products to shares, and the gradients of the shares to those of the products.
#[inline(always)]
unsafe fn to_gradients_body<S: Simd>(
    scores: &mut [f32],
    dshares: &mut [f32],
    shape: AttentionShape,
    queries: Range<usize>,
    len: usize,
    first_key: usize,
) {
    let width = scores.len() / queries.len();
    let rows = scores
        .chunks_exact_mut(width)
        .zip(dshares.chunks_exact_mut(width));
    let mut slopes = Vec::new();
    for ((scores, dshares), query) in rows.zip(queries) {
        let visible = shape.visible(len, len, query);
        let [p, dp] = [scores, dshares].map(|row| seen(row, visible.clone(), first_key));
        to_scores(p, shape);
        if let Some(cap) = shape.softcap {
            slopes.clear();
            slopes.extend(p.iter().map(|score| 1.0 - (score / cap) * (score / cap)));
        }
        softmax(p);
        // SAFETY: both are of the length.
        let mean = unsafe { super::simd::dot::<S>(p.as_ptr(), dp.as_ptr(), p.len()) };
        for (dp, p) in dp.iter_mut().zip(&*p) {
            *dp = p * (*dp - mean) * shape.scale;
        }
        if shape.softcap.is_some() {
            for (dp, slope) in dp.iter_mut().zip(&slopes) {
                *dp *= slope;
            }
        }
    }
}

/// Writes the gradients of the sequences' queries and adds those of their keys and values.
///
/// # Safety
///
/// As for [`forward`]; the sequences share no keys.
pub(super) unsafe fn backward(
    [q, k, v]: [&[f32]; 3],
    dy: &[f32],
    shape: AttentionShape,
    segments: &[&Segment],
    [dq, dk, dv]: [SharedMut; 3],
) {
    let job = Job {
        k,
        v,
        shape,
        segments,
        kernel: f32_kernel(),
    };
    let (heads, kv_heads, head_dim) = (shape.num_heads, shape.num_kv_heads, shape.head_dim);
    let group = heads / kv_heads;
    let (width, kv_width) = job.widths();
    let packed = job.packed(true);
    // The share of each query head in the gradients of keys and values.
    let mut parts: Vec<[Vec<f32>; 2]> = vec![Default::default(); segments.len() * heads];
    team::run_parts(&mut parts, 1, |index, parts| {
        let (sequence, head) = (index / heads, index % heads);
        let segment = segments[sequence];
        let packed = &packed[sequence * kv_heads + head / group];
        let rows = [q, dy].map(|values| job.of_head(values, segment, head));
        let to = dq;
        for part in parts {
            // SAFETY: the rows and the head of dq belong to this task.
            *part = unsafe { head_gradients(&job, rows, packed, (to, width)) };
        }
    });
    // In the order of the heads, whoever was first.
    team::run(segments.len() * kv_heads, |index| {
        let (sequence, kv_head) = (index / kv_heads, index % kv_heads);
        let first = segments[sequence].keys.first().map_or(0, |keys| keys.start);
        for head in kv_head * group..(kv_head + 1) * group {
            for (to, part) in [dk, dv].iter().zip(&parts[sequence * heads + head]) {
                for (row, part) in part.chunks_exact(head_dim).enumerate() {
                    // SAFETY: sequences share no keys, and this head is this task's.
                    let to = unsafe { to.at((first + row) * kv_width + kv_head * head_dim) };
                    for (index, x) in part.iter().enumerate() {
                        // SAFETY: within the head.
                        unsafe { *to.add(index) += x };
                    }
                }
            }
        }
    });
}

/// Writes the gradients of one head's queries; gives those of the keys and values, `[len, head_dim]`.
///
/// # Safety
///
/// The rows of the head in dq belong to the caller.
unsafe fn head_gradients(
    job: &Job<'_>,
    [q, dy]: [Rows<'_>; 2],
    packed: &Packed,
    (dq, width): (SharedMut, usize),
) -> [Vec<f32>; 2] {
    let head_dim = job.shape.head_dim;
    let len = q.len;
    // In whole blocks.
    let padded = len.div_ceil(PANEL) * PANEL * head_dim;
    let (mut dk, mut dv) = (vec![0.0; padded], vec![0.0; padded]);
    let (q_rows, dy_rows) = (q.as_rows(QUERIES), dy.as_rows(QUERIES));
    let (mut shares, mut dscores) = (Vec::new(), Vec::new());
    let mut turned = vec![0.0; PANEL * QUERIES];
    for (number, first) in (0..len).step_by(QUERIES).enumerate() {
        let queries = first..(first + QUERIES).min(len);
        let m = queries.len();
        let blocks = job.visible_blocks(queries.clone(), len);
        let columns = blocks.len() * PANEL;
        for values in [&mut shares, &mut dscores] {
            values.resize(m * columns, 0.0);
        }
        // SAFETY: all have the sizes; what is written is this head's.
        unsafe {
            let blocks = || blocks.clone();
            job.products(
                q,
                queries.clone(),
                &packed.key_columns,
                blocks(),
                &mut shares,
            );
            job.products(
                dy,
                queries.clone(),
                &packed.value_columns,
                blocks(),
                &mut dscores,
            );
            let first_key = blocks().start * PANEL;
            to_gradients(
                &mut shares,
                &mut dscores,
                job.shape,
                queries,
                len,
                first_key,
            );
            let to = (dq.at((q.first + first) * width + q.head), width);
            let keys = &packed.key_rows;
            job.add_products(&dscores, m, keys, PANEL, blocks(), to, Store::Overwrite);
            for (index, block) in blocks().enumerate() {
                for (values, rows, to) in
                    [(&dscores, &q_rows, &mut dk), (&shares, &dy_rows, &mut dv)]
                {
                    turn(&values[index * PANEL..], columns, m, &mut turned);
                    let to = to[block * PANEL * head_dim..].as_mut_ptr();
                    let (to, numbers) = ((to, head_dim), number..number + 1);
                    job.add_products(
                        &turned,
                        PANEL,
                        rows,
                        QUERIES,
                        numbers,
                        to,
                        Store::Accumulate,
                    );
                }
            }
        }
    }
    [&mut dk, &mut dv].map(|values| {
        values.truncate(len * head_dim);
        std::mem::take(values)
    })
}

/// Thirty-two columns of `m` rows as rows of [`QUERIES`] numbers, zero behind.
fn turn(from: &[f32], stride: usize, m: usize, to: &mut [f32]) {
    let mut rows = [Row::ZERO; PANEL];
    for (row, from) in rows.iter_mut().zip(from.chunks(stride)).take(m) {
        row.0.copy_from_slice(&from[..PANEL]);
    }
    let mut turned = [Row::ZERO; PANEL];
    f32::exchange(&rows, &mut turned);
    for (to, row) in to.chunks_exact_mut(QUERIES).zip(&turned) {
        to.copy_from_slice(&row.0[..QUERIES]);
    }
}
