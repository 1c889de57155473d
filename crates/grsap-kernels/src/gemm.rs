//! Products as BLAS libraries take them.

/// Where the numbers of a matrix are: its shape and the distances between rows and between columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) shape: [usize; 2],
    pub(crate) strides: [usize; 2],
}

/// A matrix stored column by column, and whether its transpose is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    pub(crate) is_transposed: bool,
    pub(crate) rows: u64,
    pub(crate) cols: u64,
    /// From one column to the next.
    pub(crate) leading: i64,
}

/// `d = op(a) · op(b)`, all stored column by column, with a side of each as BLAS calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Gemm {
    pub(crate) a: Operand,
    pub(crate) b: Operand,
    pub(crate) d: Operand,
    inner: u64,
}

impl Gemm {
    /// `lhs · rhs` into rows that lie one after another. Column by column that is the transpose of the
    /// result, `rhsᵀ · lhsᵀ`: so `a` is `rhs` and `b` is `lhs`. `None` where one of them is stored
    /// neither by rows nor by columns.
    pub(crate) fn new(lhs: Layout, rhs: Layout) -> Option<Self> {
        let (m, n) = (lhs.shape[0], rhs.shape[1]);
        Some(Self {
            a: operand(rhs)?,
            b: operand(lhs)?,
            d: Operand {
                is_transposed: false,
                rows: n as u64,
                cols: m as u64,
                leading: n as i64,
            },
            inner: lhs.shape[1] as u64,
        })
    }

    /// Multiplications with an addition.
    pub(crate) fn num_products(&self) -> u64 {
        self.d.rows * self.d.cols * self.inner
    }

    /// Numbers of all three matrices.
    pub(crate) fn num_elements(&self) -> u64 {
        self.inner * (self.d.rows + self.d.cols) + self.d.rows * self.d.cols
    }
}

/// The transpose of a matrix, since what lies row by row is the transpose of what lies column by
/// column.
fn operand(matrix: Layout) -> Option<Operand> {
    let ([rows, cols], [by_row, by_col]) = (matrix.shape, matrix.strides);
    if by_col == 1 && by_row >= cols {
        Some(Operand {
            is_transposed: false,
            rows: cols as u64,
            cols: rows as u64,
            leading: by_row as i64,
        })
    } else if by_row == 1 && by_col >= rows {
        Some(Operand {
            is_transposed: true,
            rows: rows as u64,
            cols: cols as u64,
            leading: by_col as i64,
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(data: &[f64], operand: &Operand, row: usize, col: usize) -> f64 {
        let (row, col) = match operand.is_transposed {
            true => (col, row),
            false => (row, col),
        };
        assert!(row < operand.rows as usize && col < operand.cols as usize);
        data[row + col * operand.leading as usize]
    }

    /// What a BLAS library does with it.
    fn run(gemm: &Gemm, a: &[f64], b: &[f64]) -> Vec<f64> {
        let (rows, cols) = (gemm.d.rows as usize, gemm.d.cols as usize);
        let mut d = vec![f64::NAN; rows * cols];
        for row in 0..rows {
            for col in 0..cols {
                let inner = 0..gemm.inner as usize;
                let products =
                    inner.map(|i| element(a, &gemm.a, row, i) * element(b, &gemm.b, i, col));
                d[row + col * gemm.d.leading as usize] = products.sum();
            }
        }
        d
    }

    /// A matrix by rows or by columns, with room between them, and its numbers in memory.
    fn stored(values: &[Vec<f64>], by_columns: bool, room: usize) -> (Layout, Vec<f64>) {
        let shape = [values.len(), values[0].len()];
        let strides = match by_columns {
            false => [shape[1] + room, 1],
            true => [1, shape[0] + room],
        };
        let mut data = vec![f64::NAN; shape[0] * strides[0] + shape[1] * strides[1]];
        for (i, row) in values.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                data[i * strides[0] + j * strides[1]] = *value;
            }
        }
        (Layout { shape, strides }, data)
    }

    #[test]
    fn products_are_those_of_rows_and_columns() {
        let matrix = |rows: usize, cols: usize, seed: usize| -> Vec<Vec<f64>> {
            let value = |i, j| ((i * 31 + j * 17 + seed * 7) % 23) as f64 - 11.0;
            let row = |i| (0..cols).map(|j| value(i, j)).collect();
            (0..rows).map(row).collect()
        };
        for [m, k, n] in [[3, 4, 5], [1, 7, 2], [6, 1, 3], [2, 3, 1], [1, 1, 1]] {
            let (lhs, rhs) = (matrix(m, k, 1), matrix(k, n, 2));
            let expected = lhs.iter().flat_map(|row| {
                (0..n).map(|j| row.iter().zip(&rhs).map(|(x, y)| x * y[j]).sum::<f64>())
            });
            let expected: Vec<f64> = expected.collect();
            for case in 0..16 {
                let (lhs_layout, b) = stored(&lhs, case & 1 > 0, case >> 2 & 1);
                let (rhs_layout, a) = stored(&rhs, case & 2 > 0, case >> 3);
                let gemm = Gemm::new(lhs_layout, rhs_layout).unwrap();
                assert_eq!(run(&gemm, &a, &b), expected, "{m} {k} {n}, case {case}");
                assert_eq!(gemm.num_products() as usize, m * k * n);
                assert_eq!(gemm.num_elements() as usize, m * k + k * n + m * n);
            }
        }
        let scattered = Layout {
            shape: [3, 3],
            strides: [6, 2],
        };
        assert_eq!(Gemm::new(scattered, scattered), None);
    }
}
