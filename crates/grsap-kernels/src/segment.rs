use std::ops::Range;

use crate::error::{KernelError, check};

/// The rows of one sequence in a batch without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rows of the queries (and of the output).
    pub queries: Range<usize>,
    /// Rows of the keys and values, in the order of their positions. More than one range where a
    /// prefix is shared: first the shared rows, then the sequence's own. The last query is at the
    /// position of the last key.
    pub keys: Vec<Range<usize>>,
}

impl Segment {
    /// A sequence whose keys are the rows of its queries: training, scoring, encoding.
    pub fn alone(rows: Range<usize>) -> Self {
        Self {
            keys: vec![rows.clone()],
            queries: rows,
        }
    }

    /// Sequences of these lengths, one after another.
    ///
    /// ```
    /// use grsap_kernels::Segment;
    ///
    /// assert_eq!(Segment::packed([3, 2])[1], Segment::alone(3..5));
    /// ```
    pub fn packed(lengths: impl IntoIterator<Item = usize>) -> Vec<Self> {
        let mut start = 0;
        lengths
            .into_iter()
            .map(|len| {
                start += len;
                Self::alone(start - len..start)
            })
            .collect()
    }

    /// How many keys it has.
    pub fn num_keys(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }
}

/// Heads of an attention layer, and what each query sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Heads of the queries.
    pub num_heads: usize,
    /// Heads of the keys and values; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// What the products of queries and keys are multiplied by.
    pub scale: f32,
    /// A scaled product s becomes `softcap * tanh(s / softcap)`.
    pub softcap: Option<f32>,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
    /// A query sees the last so many of the keys up to its own position, its own included. Asks
    /// for `causal`.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Causal attention with the scale 1 / sqrt(head_dim), no soft-cap and no window.
    pub fn causal(num_heads: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        Self {
            num_heads,
            num_kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            causal: true,
            window: None,
        }
    }

    /// The keys, counted through the segment's ranges, that query `i` of a segment sees.
    #[inline(always)]
    pub(crate) fn visible(&self, num_queries: usize, num_keys: usize, i: usize) -> Range<usize> {
        if !self.causal {
            return 0..num_keys;
        }
        let end = num_keys - num_queries + i + 1;
        let start = self.window.map_or(0, |window| end.saturating_sub(window));
        start..end
    }

    pub(crate) fn check(
        &self,
        q: [usize; 2],
        k: [usize; 2],
        v: [usize; 2],
        segments: &[Segment],
    ) -> Result<(), KernelError> {
        let op = "attention";
        let width = |num_heads: usize| num_heads.saturating_mul(self.head_dim);
        let kv_width = width(self.num_kv_heads);
        check(op, "width of q", width(self.num_heads), q[1])?;
        check(op, "width of k", kv_width, k[1])?;
        check(op, "width of v", kv_width, v[1])?;
        check(op, "rows of v", k[0], v[0])?;
        if self.num_kv_heads == 0 || !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(KernelError::Shape {
                op,
                what: "num_heads modulo num_kv_heads",
                expected: 0,
                got: self
                    .num_heads
                    .checked_rem(self.num_kv_heads)
                    .unwrap_or(self.num_heads),
            });
        }
        let not_positive = |what| Err(KernelError::NotPositive { op, what });
        if self.softcap.is_some_and(|cap| cap.is_nan() || cap <= 0.0) {
            return not_positive("softcap");
        }
        if self.window == Some(0) || (self.window.is_some() && !self.causal) {
            return not_positive("window of causal attention");
        }
        let mut next = 0;
        for (index, segment) in segments.iter().enumerate() {
            // Each output row belongs to one segment: that is what lets tasks write in parallel.
            check(
                op,
                "first query row of a segment",
                next,
                segment.queries.start,
            )?;
            if segment.queries.end < next {
                return Err(KernelError::Index {
                    op,
                    what: "query row",
                    index: segment.queries.start,
                    len: segment.queries.end,
                });
            }
            next = segment.queries.end;
            for range in &segment.keys {
                if range.end > k[0] || range.start > range.end {
                    return Err(KernelError::Index {
                        op,
                        what: "key row",
                        index: range.end,
                        len: k[0],
                    });
                }
            }
            let (num_queries, num_keys) = (segment.queries.len(), segment.num_keys());
            if num_queries == 0 {
                continue;
            }
            if num_keys == 0 || (self.causal && num_keys < num_queries) {
                return Err(KernelError::Segment {
                    segment: index,
                    num_queries,
                    num_keys,
                });
            }
        }
        check(op, "query rows covered by segments", q[0], next)
    }
}
