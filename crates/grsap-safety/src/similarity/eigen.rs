use rayon::prelude::*;

use crate::MetricError;

/// Columns that one task rotates. Their part of the matrix stays in the cache, and the compiler makes vectors
/// of arrays of known length.
const LANES: usize = 32;

/// Rotations that are collected before they are applied, for each row.
const ROTATIONS_PER_ROW: usize = 32;

/// Eigenvalues from the largest down, and their unit vectors.
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    /// `[n, n]`, row-major; row `i` belongs to value `i`.
    pub(crate) vectors: Vec<f64>,
}

/// The eigenvalues and eigenvectors of a symmetric matrix, `[n, n]`.
///
/// Householder's reduction to three diagonals, then QL steps with Wilkinson's shifts. Off-diagonals
/// below the rounding error of the whole matrix count as zero.
///
/// # Source
///
/// Golub, Van Loan, Matrix Computations, chapter 8.
pub(crate) fn symmetric_eigen(matrix: Vec<f64>, n: usize) -> Result<Eigen, MetricError> {
    let (mut diagonal, mut beside, reflectors) = tridiagonal(matrix, n);
    let mut basis = Columns::new(&reflected_identity(&reflectors, n), n);
    diagonalise(&mut diagonal, &mut beside, &mut basis)?;
    let mut order: Vec<usize> = (0..n).collect();
    let value = |at: usize| diagonal.get(at).copied().unwrap_or_default();
    order.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
    let mut vectors = Vec::with_capacity(n * n);
    for at in &order {
        basis.push_row(*at, &mut vectors);
    }
    Ok(Eigen {
        values: order.into_iter().map(value).collect(),
        vectors,
    })
}

/// `I - scale v vᵀ`, where `v` begins at some row.
struct Reflector {
    from: usize,
    v: Vec<f64>,
    scale: f64,
}

/// Diagonal, off-diagonal, and the reflectors that lead there. Row `k` is done when it is the first
/// of what remains, so the matrix shrinks from its front.
fn tridiagonal(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<Reflector>) {
    let (mut diagonal, mut beside) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut reflectors = Vec::with_capacity(n);
    // What is left of a matrix of low rank is rounding errors, and then rounding errors of those:
    // squares of them would leave the range of f64.
    let negligible = f64::EPSILON * f64::EPSILON * dot(&matrix, &matrix);
    for k in 0..n {
        let (done, rest) = matrix.split_at_mut(((k + 1) * n).min(n * n));
        let row = done.get(k * n + k..).unwrap_or_default();
        let Some((at, tail)) = row.split_first() else {
            break;
        };
        diagonal.push(*at);
        let Some((head, others)) = tail.split_first() else {
            break;
        };
        let others: f64 = others.iter().map(|x| x * x).sum();
        if others <= negligible * f64::EPSILON {
            beside.push(*head);
            continue;
        }
        let length = (head * head + others).sqrt();
        let to = if *head > 0.0 { -length } else { length };
        beside.push(to);
        let mut v = tail.to_vec();
        if let Some(first) = v.first_mut() {
            *first -= to;
        }
        // vᵀv = 2 length (length + |head|)
        let scale = 1.0 / (length * (length + head.abs()));
        reflect_both_sides(rest, n, k + 1, &v, scale);
        reflectors.push(Reflector {
            from: k + 1,
            v,
            scale,
        });
    }
    (diagonal, beside, reflectors)
}

/// `H A H` on the rows and columns from `from` on; `rows` begins with row `from`.
fn reflect_both_sides(rows: &mut [f64], n: usize, from: usize, v: &[f64], scale: f64) {
    let product = |row: &[f64]| scale * dot(row.get(from..).unwrap_or_default(), v);
    let big = v.len() >= 256;
    let mut w: Vec<f64> = if big {
        rows.par_chunks(n).with_min_len(32).map(product).collect()
    } else {
        rows.chunks(n).map(product).collect()
    };
    let half = 0.5 * scale * dot(&w, v);
    for (w, v) in w.iter_mut().zip(v) {
        *w -= half * v;
    }
    let update = |(row, (vi, wi)): (&mut [f64], (&f64, &f64))| {
        let row = row.get_mut(from..).unwrap_or_default();
        for ((x, v), w) in row.iter_mut().zip(v).zip(&w) {
            *x -= vi * w + wi * v;
        }
    };
    if big {
        let pairs = v.par_iter().zip(&w);
        rows.par_chunks_mut(n)
            .zip(pairs)
            .with_min_len(32)
            .for_each(update);
    } else {
        rows.chunks_mut(n).zip(v.iter().zip(&w)).for_each(update);
    }
}

/// Eight sums side by side, so that the compiler makes vectors of them.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a8.zip(b8) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The transpose of the product of all reflectors, row-major.
fn reflected_identity(reflectors: &[Reflector], n: usize) -> Vec<f64> {
    let mut rows = vec![0.0; n * n];
    // Row j of the result is the last to first reflector applied to a unit vector.
    rows.par_chunks_mut(n.max(1))
        .with_min_len(8)
        .enumerate()
        .for_each(|(j, row)| {
            if let Some(one) = row.get_mut(j) {
                *one = 1.0;
            }
            // A reflector that begins behind j leaves the unit vector as it is.
            for reflector in reflectors.iter().rev() {
                let part = row.get_mut(reflector.from..).unwrap_or_default();
                let along = reflector.scale * dot(part, &reflector.v);
                if along != 0.0 {
                    for (x, v) in part.iter_mut().zip(&reflector.v) {
                        *x -= along * v;
                    }
                }
            }
        });
    rows
}

/// Turns rows `at` and `at + 1` into one another.
struct Rotation {
    at: usize,
    cos: f64,
    sin: f64,
}

/// A square matrix in strips of [`LANES`] columns, which rotations of rows do not connect.
struct Columns {
    n: usize,
    strips: Vec<Vec<[f64; LANES]>>,
}

impl Columns {
    fn new(rows: &[f64], n: usize) -> Self {
        let strips = (0..n.div_ceil(LANES)).map(|strip| {
            let part = |row: &[f64]| {
                let mut lanes = [0.0; LANES];
                let from = row.iter().skip(strip * LANES);
                lanes.iter_mut().zip(from).for_each(|(to, x)| *to = *x);
                lanes
            };
            rows.chunks(n).map(part).collect()
        });
        Self {
            n,
            strips: strips.collect(),
        }
    }

    fn rotate(&mut self, rotations: &[Rotation]) {
        self.strips.par_iter_mut().for_each(|strip| {
            for Rotation { at, cos, sin } in rotations {
                let Some([low, high]) = strip.get_mut(*at..at + 2) else {
                    continue;
                };
                for (x, y) in low.iter_mut().zip(high) {
                    let old = *y;
                    *y = sin * *x + cos * old;
                    *x = cos * *x - sin * old;
                }
            }
        });
    }

    fn push_row(&self, at: usize, to: &mut Vec<f64>) {
        let wanted = to.len() + self.n;
        let lanes = self.strips.iter().filter_map(|strip| strip.get(at));
        to.extend(lanes.flatten());
        to.truncate(wanted);
    }
}

/// QL steps until nothing is left beside the diagonal; `basis` turns with them.
fn diagonalise(
    diagonal: &mut [f64],
    beside: &mut Vec<f64>,
    basis: &mut Columns,
) -> Result<(), MetricError> {
    let n = diagonal.len();
    beside.resize(n, 0.0);
    let norm = diagonal
        .iter()
        .zip(beside.iter())
        .map(|(d, e)| d.abs() + 2.0 * e.abs())
        .fold(0.0, f64::max);
    let negligible = f64::EPSILON * norm;
    let mut rotations = Vec::new();
    for low in 0..n {
        let mut num_steps = 0;
        while let Some(high) = (low..n)
            .find(|at| beside.get(*at).is_none_or(|e| e.abs() <= negligible))
            .filter(|high| *high > low)
        {
            num_steps += 1;
            if num_steps > 100 {
                return Err(MetricError::NoConvergence {
                    what: "the eigenvalues of the features' covariance",
                });
            }
            ql_step(diagonal, beside, low, high, &mut rotations);
            if rotations.len() > ROTATIONS_PER_ROW * n {
                basis.rotate(&rotations);
                rotations.clear();
            }
        }
    }
    basis.rotate(&rotations);
    Ok(())
}

/// One implicit QL step on rows `low..=high`.
#[allow(clippy::indexing_slicing)] // low < high < n, and both lists have n entries
fn ql_step(d: &mut [f64], e: &mut [f64], low: usize, high: usize, rotations: &mut Vec<Rotation>) {
    // Wilkinson's shift: the eigenvalue of the leading 2x2 that is nearer to its corner.
    let half_gap = (d[low + 1] - d[low]) / (2.0 * e[low]);
    let root = half_gap.hypot(1.0);
    let shift = d[low] - e[low] / (half_gap + root.copysign(half_gap));
    let (mut sin, mut cos, mut taken) = (1.0, 1.0, 0.0);
    let mut bulge = d[high] - shift;
    for at in (low..high).rev() {
        let (across, along) = (sin * e[at], cos * e[at]);
        let length = across.hypot(bulge);
        e[at + 1] = length;
        if length == 0.0 {
            // The matrix falls apart here by itself.
            d[at + 1] -= taken;
            e[high] = 0.0;
            return;
        }
        (sin, cos) = (across / length, bulge / length);
        let rest = d[at + 1] - taken;
        let mixed = (d[at] - rest) * sin + 2.0 * cos * along;
        taken = sin * mixed;
        d[at + 1] = rest + taken;
        bulge = cos * mixed - along;
        rotations.push(Rotation { at, cos, sin });
    }
    d[low] -= taken;
    e[low] = bulge;
    e[high] = 0.0;
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    /// Largest gaps of `A v = λ v` and of `v vᵀ = 1`.
    fn gaps(matrix: &[f64], n: usize) -> (f64, f64) {
        let Eigen { values, vectors } = symmetric_eigen(matrix.to_vec(), n).unwrap();
        assert!(values.is_sorted_by(|a, b| a >= b));
        let (mut of_values, mut of_units) = (0.0, 0.0_f64);
        for (i, v) in vectors.chunks(n).enumerate() {
            for (row, x) in matrix.chunks(n).zip(v) {
                of_values = f64::max(of_values, (dot(row, v) - values[i] * x).abs());
            }
            for (j, w) in vectors.chunks(n).enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                of_units = of_units.max((dot(v, w) - expected).abs());
            }
        }
        (of_values, of_units)
    }

    fn random_symmetric(n: usize) -> Vec<f64> {
        let mut rng = grsap_core::rng(n as u64, "eigen", &[]);
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let x = rng.random_range(-1.0..1.0);
                (matrix[i * n + j], matrix[j * n + i]) = (x, x);
            }
        }
        matrix
    }

    #[test]
    fn random_matrices() {
        for n in [1, 2, 3, 7, 33, 130, 300] {
            let (of_values, of_units) = gaps(&random_symmetric(n), n);
            assert!(
                of_values < 1e-12 && of_units < 1e-12,
                "{n}: {of_values} {of_units}"
            );
        }
    }

    #[test]
    fn special_matrices() {
        assert_eq!(gaps(&[0.0; 16], 4), (0.0, 0.0));
        let identity: Vec<f64> = (0..25).map(|i| f64::from(u8::from(i % 6 == 0))).collect();
        assert_eq!(gaps(&identity, 5), (0.0, 0.0));
        // Rank one, and a graded one.
        let n = 40;
        let rank_one: Vec<f64> = (0..n * n)
            .map(|at| ((at / n + 1) * (at % n + 1)) as f64 / 1600.0)
            .collect();
        let graded: Vec<f64> = (0..n * n)
            .map(|at| 10_f64.powi(-((at / n + at % n) as i32)))
            .collect();
        for matrix in [rank_one, graded] {
            let (of_values, of_units) = gaps(&matrix, n);
            assert!(
                of_values < 1e-12 && of_units < 1e-12,
                "{of_values} {of_units}"
            );
        }
    }

    /// Few distinct rows: all but three values are zero.
    #[test]
    fn low_rank() {
        let n = 128;
        let rows: Vec<f64> = (0..3 * n)
            .map(|i| f64::from(i as i32 * 37 % 11) / 8.0)
            .collect();
        let mut matrix = vec![0.0; n * n];
        for row in rows.chunks(n) {
            for (at, x) in matrix.iter_mut().enumerate() {
                *x += row[at / n] * row[at % n];
            }
        }
        let (of_values, of_units) = gaps(&matrix, n);
        assert!(
            of_values < 1e-11 && of_units < 1e-12,
            "{of_values} {of_units}"
        );
    }

    #[test]
    fn known_values() {
        let Eigen { values, vectors } = symmetric_eigen(vec![2.0, 1.0, 1.0, 2.0], 2).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15);
        assert!((vectors[0] - vectors[1]).abs() < 1e-15);
        assert!((vectors[2] + vectors[3]).abs() < 1e-15);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let matrix = random_symmetric(300);
        let with = |num_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads);
            let pool = pool.build().unwrap();
            pool.install(|| symmetric_eigen(matrix.clone(), 300).unwrap().vectors)
        };
        assert_eq!(with(1), with(3));
    }
}
