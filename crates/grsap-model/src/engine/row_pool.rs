use std::ops::Range;

/// Free rows of the cache.
#[derive(Debug)]
pub(super) struct RowPool {
    /// Disjoint, sorted, never touching.
    free: Vec<Range<usize>>,
}

impl RowPool {
    pub(super) fn new(num_rows: usize) -> Self {
        Self {
            free: Vec::from([Range {
                start: 0,
                end: num_rows,
            }]),
        }
    }

    /// The first `len` rows that lie together, if there are such.
    pub(super) fn allocate(&mut self, len: usize) -> Option<Range<usize>> {
        let index = self.free.iter().position(|range| range.len() >= len)?;
        let range = self.free.get_mut(index)?;
        let rows = range.start..range.start + len;
        range.start = rows.end;
        if range.start == range.end {
            self.free.remove(index);
        }
        Some(rows)
    }

    /// Gives rows back.
    pub(super) fn release(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let at = self.free.partition_point(|range| range.start < rows.start);
        self.free.insert(at, rows);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(self.free.len());
        for range in self.free.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => merged.push(range),
            }
        }
        self.free = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_one_piece() {
        let mut pool = RowPool::new(10);
        let a = pool.allocate(3).unwrap();
        let b = pool.allocate(3).unwrap();
        let c = pool.allocate(4).unwrap();
        assert_eq!((a.clone(), b.clone(), c.clone()), (0..3, 3..6, 6..10));
        assert_eq!(pool.allocate(1), None);
        pool.release(a);
        pool.release(c);
        assert_eq!(pool.allocate(5), None);
        pool.release(b);
        assert_eq!(pool.allocate(10), Some(0..10));
    }
}
