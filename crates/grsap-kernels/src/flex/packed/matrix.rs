//! The layout of a packed matrix.

use rayon::prelude::*;

use super::word::Word;

/// Columns of a product that stand side by side. Two AVX-512 vectors; other instruction sets take
/// a panel in parts.
pub(in crate::flex) const PANEL: usize = 32;

/// One word for each column of a panel. Aligned to whole cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(in crate::flex) struct Row<W>(pub(in crate::flex) [W; PANEL]);

impl<W: Word> Row<W> {
    pub(in crate::flex) const ZERO: Self = Self([W::ZERO; PANEL]);
}

/// Rows of `width` numbers, one after another, each written by `copy_row`.
pub(super) fn copied_rows(
    width: usize,
    indices: &[usize],
    copy_row: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values = vec![0.0; indices.len() * width];
    if width > 0 {
        let rows = values.par_chunks_exact_mut(width).with_min_len(8);
        rows.zip(indices).for_each(|(to, &row)| copy_row(row, to));
    }
    values
}

/// A weight `[out, in]`, in panels of [`PANEL`] outputs. A panel has a row for each word of inputs,
/// with that word of every output: what the product reads, in the order in which it reads it.
#[derive(Clone)]
pub(super) struct Packed<W> {
    pub(super) rows: Vec<Row<W>>,
    pub(super) out: usize,
    pub(super) width: usize,
}

impl<W: Word> Packed<W> {
    /// Packs `[out, width]`, row-major.
    ///
    /// # Panics
    ///
    /// When there are not as many values.
    pub(super) fn new(values: &[f32], [out, width]: [usize; 2]) -> Self {
        assert_eq!(values.len(), out * width);
        let depth = width.div_ceil(W::ELEMENTS);
        let mut rows = vec![Row::ZERO; out.div_ceil(PANEL) * depth];
        if !rows.is_empty() {
            let panels = rows.par_chunks_exact_mut(depth);
            let panels = panels.zip(values.par_chunks(PANEL * width));
            panels.for_each(|(panel, values)| {
                for (column, values) in values.chunks_exact(width).enumerate() {
                    for (row, elements) in panel.iter_mut().zip(values.chunks(W::ELEMENTS)) {
                        row.0[column] = W::from_elements(elements);
                    }
                }
            });
        }
        Self { rows, out, width }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        [self.out, self.width]
    }

    /// Bytes of the packed form.
    pub(super) fn num_bytes(&self) -> usize {
        size_of_val(self.rows.as_slice())
    }

    /// Words of a row.
    pub(super) fn depth(&self) -> usize {
        self.width.div_ceil(W::ELEMENTS)
    }

    /// Writes one row of the weight.
    pub(super) fn copy_row(&self, row: usize, to: &mut [f32]) {
        let depth = self.depth();
        let panel = &self.rows[row / PANEL * depth..][..depth];
        for (to, words) in to.chunks_mut(W::ELEMENTS).zip(panel) {
            for (index, to) in to.iter_mut().enumerate() {
                *to = words.0[row % PANEL].element(index);
            }
        }
    }

    /// The rows with the given indices, one after another.
    pub(super) fn rows(&self, indices: &[usize]) -> Vec<f32> {
        copied_rows(self.width, indices, |row, to| self.copy_row(row, to))
    }

    /// The weight as it was, but for rounding.
    pub(super) fn unpacked(&self) -> Vec<f32> {
        self.rows(&(0..self.out).collect::<Vec<_>>())
    }
}
