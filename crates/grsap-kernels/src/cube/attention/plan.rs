use crate::segment::{AttentionShape, Segment};

/// Numbers of a block in [`Plan::query_blocks`] and [`Plan::key_blocks`].
pub(super) const BLOCK: usize = 6;

/// Which rows the cubes of a launch work on.
pub(super) struct Plan {
    /// For each block of queries: its first row, how many rows, the position of the first among
    /// the keys, the number of keys, where they begin in `key_rows`, and 0.
    pub(super) query_blocks: Vec<u32>,
    /// For each block of keys: the first key, how many, the number of keys, where they begin in
    /// `key_rows`, the first row of the queries, the number of queries.
    pub(super) key_blocks: Vec<u32>,
    /// The rows of the keys of all segments.
    pub(super) key_rows: Vec<u32>,
}

impl Plan {
    pub(super) fn new(segments: &[Segment], queries: usize, keys: usize) -> Self {
        let mut plan = Self {
            query_blocks: Vec::new(),
            key_blocks: Vec::new(),
            key_rows: Vec::new(),
        };
        for segment in segments {
            let (num_queries, num_keys) = (segment.queries.len(), segment.num_keys());
            if num_queries == 0 {
                continue;
            }
            let offset = plan.key_rows.len();
            let rows = segment.keys.iter().cloned().flatten();
            plan.key_rows.extend(rows.map(|row| row as u32));
            // Only causal attention has positions; there are then at least as many keys.
            let ahead = num_keys.saturating_sub(num_queries);
            for first in (0..num_queries).step_by(queries) {
                let block = [
                    segment.queries.start + first,
                    queries.min(num_queries - first),
                    ahead + first,
                    num_keys,
                    offset,
                    0,
                ];
                plan.query_blocks.extend(block.map(|n| n as u32));
            }
            for first in (0..num_keys).step_by(keys) {
                let block = [
                    first,
                    keys.min(num_keys - first),
                    num_keys,
                    offset,
                    segment.queries.start,
                    num_queries,
                ];
                plan.key_blocks.extend(block.map(|n| n as u32));
            }
        }
        plan
    }

    /// Whether some row is a key of more than one segment, or of none: then blocks of keys do not
    /// own the rows of their gradients.
    pub(super) fn shares_keys(&self, num_rows: usize) -> bool {
        let mut seen = vec![false; num_rows];
        for &row in &self.key_rows {
            match seen.get_mut(row as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return true,
            }
        }
        seen.contains(&false)
    }
}

/// What [`AttentionShape::window`] is in the kernels. They add it to positions in 32 bits.
pub(super) fn window(shape: &AttentionShape) -> usize {
    shape.window.map_or(0, |window| window.min(1 << 30))
}
