use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Features;
use super::product::{BLOCK, Element};
use crate::MetricError;

/// How two sets of features lie in one another, by their nearest neighbours.
///
/// Every text has a ball that reaches to its `k`-th nearest neighbour in its own set. Distances are
/// Euclidean, between the features as they are, and exact: where single precision leaves a
/// comparison open, it is repeated in double precision.
///
/// # Examples
///
/// ```
/// use grsap_safety::{Features, Neighbours};
///
/// let real: Vec<f32> = (0..20).map(|i| i as f32).collect();
/// let synthetic: Vec<f32> = (0..5).map(|i| i as f32 + 0.25).collect();
/// let (real, synthetic) = (Features::new(&real, 1)?, Features::new(&synthetic, 1)?);
/// let found = Neighbours::new(real, synthetic, 2)?;
/// assert_eq!(found.precision, 1.0);
/// assert_eq!((found.recall, found.coverage), (0.35, 0.3));
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// Kynkäänniemi et al., Improved Precision and Recall (NeurIPS 2019) for the first two; Naeem et al., Reliable
/// Fidelity and Diversity Metrics (ICML 2020) for the others. A text on the edge of a ball lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbours {
    /// The share of synthetic texts that lie in the ball of a real one.
    pub precision: f64,
    /// The share of real texts that lie in the ball of a synthetic one.
    pub recall: f64,
    /// The mean number of real balls around a synthetic text, divided by `k`. 1 is expected of equal
    /// distributions; it may be larger.
    pub density: f64,
    /// The share of real texts whose ball has a synthetic text in it.
    pub coverage: f64,
    /// The neighbour that a ball reaches to.
    pub k: usize,
}

impl Neighbours {
    /// Compares two sets of features. `k` is 3 in the paper of 2019 and 5 in that of 2020.
    ///
    /// # Errors
    ///
    /// [`MetricError`] for rows of different lengths, or a set with fewer than `k + 1` rows.
    pub fn new(real: Features<'_>, synthetic: Features<'_>, k: usize) -> Result<Self, MetricError> {
        real.check_same_dim(&synthetic)?;
        let fewest = real.num_rows().min(synthetic.num_rows());
        if k == 0 || k >= fewest {
            return Err(MetricError::Config {
                field: "k",
                expected: "at least 1 and below the number of rows of either set",
                got: format!("{k} for {fewest} rows"),
            });
        }
        let (real, synthetic) = (Rows::new(real), Rows::new(synthetic));
        let (of_real, of_synthetic) = (real.radii(k), synthetic.radii(k));
        // For each synthetic text: real balls around it, and whether it has a real text in its own.
        let (mut in_balls, mut covered) = (vec![0_usize; synthetic.num()], Vec::new());
        let mut recalled = Vec::new();
        let found: Vec<RealText> = real.against(&synthetic, |at, distances| {
            let radius = of_real.get(at).copied().unwrap_or_default();
            let mut text = RealText::default();
            for (other, own) in (0..).zip(&of_synthetic) {
                if distances.at_most(other, radius) {
                    text.in_own_ball.push(other);
                }
                text.is_recalled = text.is_recalled || distances.at_most(other, *own);
            }
            text
        });
        for text in found {
            covered.push(!text.in_own_ball.is_empty());
            recalled.push(text.is_recalled);
            for other in text.in_own_ball {
                if let Some(count) = in_balls.get_mut(other) {
                    *count += 1;
                }
            }
        }
        let share =
            |flags: &[bool]| flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64;
        let num_precise = in_balls.iter().filter(|count| **count > 0).count();
        let num_balls: usize = in_balls.iter().sum();
        Ok(Self {
            precision: num_precise as f64 / synthetic.num() as f64,
            recall: share(&recalled),
            density: num_balls as f64 / (k * synthetic.num()) as f64,
            coverage: share(&covered),
            k,
        })
    }
}

#[derive(Default)]
struct RealText {
    /// Synthetic texts in its ball.
    in_own_ball: Vec<usize>,
    /// Whether it lies in the ball of a synthetic text.
    is_recalled: bool,
}

struct Rows<'a> {
    features: Features<'a>,
    squares: Vec<f32>,
}

/// The squared distances of one row from all rows of a set.
struct Distances<'a> {
    row: &'a [f32],
    others: &'a Rows<'a>,
    /// In single precision.
    rough: &'a [f32],
    square: f32,
}

impl Distances<'_> {
    /// How far `rough` may be off: the dot product and the squares are sums of `dim` products, of
    /// which each addition loses at most a unit in the last place.
    fn slack(&self, other: usize) -> f64 {
        let squares = self.square + self.others.squares.get(other).copied().unwrap_or_default();
        let additions = self.row.len() as f64 + 4.0;
        2.0 * additions * f64::from(f32::EPSILON) * f64::from(squares)
    }

    fn rough(&self, other: usize) -> f64 {
        f64::from(self.rough.get(other).copied().unwrap_or_default())
    }

    fn exact(&self, other: usize) -> f64 {
        squared_distance(self.row, self.others.row(other))
    }

    /// Whether row `other` is no farther than the root of `radius`.
    fn at_most(&self, other: usize, radius: f64) -> bool {
        let (rough, slack) = (self.rough(other), self.slack(other));
        if rough + slack <= radius {
            true
        } else if rough - slack > radius {
            false
        } else {
            self.exact(other) <= radius
        }
    }

    /// The `k`-th smallest.
    fn kth(&self, k: usize) -> f64 {
        let num = self.rough.len();
        // Of distances too great for `f32` nothing is sure.
        let or_infinite = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        let highest = (0..num).map(|at| or_infinite(self.rough(at) + self.slack(at)));
        let mut highest: Vec<f64> = highest.collect();
        let (_, bound, _) = highest.select_nth_unstable_by(k - 1, f64::total_cmp);
        let bound = *bound;
        // k of them are surely no farther than the bound, so no other one can be the k-th.
        let mut candidates: Vec<f64> = (0..num)
            .filter(|at| {
                let least = self.rough(*at) - self.slack(*at);
                least.is_nan() || least <= bound
            })
            .map(|at| self.exact(at))
            .collect();
        let (_, kth, _) = candidates.select_nth_unstable_by(k - 1, f64::total_cmp);
        *kth
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let gap = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    a.iter().zip(b).map(gap).sum()
}

impl<'a> Rows<'a> {
    fn new(features: Features<'a>) -> Self {
        let square = |row: &[f32]| row.iter().map(|x| x * x).sum();
        Self {
            features,
            squares: features.rows().map(square).collect(),
        }
    }

    fn num(&self) -> usize {
        self.squares.len()
    }

    fn row(&self, at: usize) -> &'a [f32] {
        let dim = self.features.dim();
        let values = self.features.values();
        values.get(at * dim..(at + 1) * dim).unwrap_or_default()
    }

    /// What `visit` makes of every row's distances from the rows of `others`, in order.
    fn against<T: Send>(
        &self,
        others: &Rows<'_>,
        visit: impl Fn(usize, &Distances<'_>) -> T + Sync,
    ) -> Vec<T> {
        const ROWS: usize = BLOCK / 4;
        let dim = self.features.dim();
        let blocks = self.features.values().par_chunks(ROWS * dim).enumerate();
        let visited: Vec<Vec<T>> = blocks
            .map_init(Vec::new, |rough, (block, rows)| {
                rough.resize(rows.len() / dim * others.num(), 0.0);
                f32::rows_by_rows(rows, others.features.values(), dim, rough);
                let lines = rough.chunks_mut(others.num()).zip(rows.chunks(dim));
                (block * ROWS..)
                    .zip(lines)
                    .map(|(at, (line, row))| {
                        let square = self.squares.get(at).copied().unwrap_or_default();
                        for (x, other) in line.iter_mut().zip(&others.squares) {
                            *x = square + other - 2.0 * *x;
                        }
                        let distances = Distances {
                            row,
                            others,
                            rough: line,
                            square,
                        };
                        visit(at, &distances)
                    })
                    .collect()
            })
            .collect();
        visited.into_iter().flatten().collect()
    }

    /// The squared distance of every row from its `k`-th nearest neighbour in this set.
    fn radii(&self, k: usize) -> Vec<f64> {
        // The nearest is the row itself, or a copy of it.
        self.against(self, |_, distances| distances.kth(k + 1))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn a_set_and_itself() {
        let mut rng = grsap_core::rng(2, "neighbours", &[]);
        let values: Vec<f32> = (0..300 * 8).map(|_| rng.random_range(-1.0..1.0)).collect();
        let set = Features::new(&values, 8).unwrap();
        let found = Neighbours::new(set, set, 5).unwrap();
        assert_eq!(
            (found.precision, found.recall, found.coverage),
            (1.0, 1.0, 1.0)
        );
        // Its own ball and, in the mean, those of k others.
        assert!((found.density - 1.2).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn sets_that_are_far_apart() {
        let values: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let far: Vec<f32> = values.iter().map(|x| x + 1e4).collect();
        let (a, b) = (
            Features::new(&values, 2).unwrap(),
            Features::new(&far, 2).unwrap(),
        );
        let found = Neighbours::new(a, b, 3).unwrap();
        let all = [found.precision, found.recall, found.density, found.coverage];
        assert_eq!(all, [0.0; 4]);
    }

    #[test]
    fn copies_are_found_although_their_balls_have_no_size() {
        let values = [0.1, 0.7, 0.3].repeat(12);
        let set = Features::new(&values, 3).unwrap();
        let found = Neighbours::new(set, set, 3).unwrap();
        assert_eq!(
            (found.precision, found.recall, found.coverage),
            (1.0, 1.0, 1.0)
        );
        let moved: Vec<f32> = values.iter().map(|x| x + 1e-6).collect();
        let moved = Features::new(&moved, 3).unwrap();
        assert_eq!(Neighbours::new(set, moved, 3).unwrap().precision, 0.0);
    }

    #[test]
    fn order_changes_nothing() {
        let mut rng = grsap_core::rng(3, "neighbours", &[]);
        let rows: Vec<[f32; 4]> = (0..250)
            .map(|_| std::array::from_fn(|_| rng.random_range(-1.0..1.0)))
            .collect();
        let (real, synthetic) = rows.split_at(150);
        let found = |real: &[[f32; 4]], synthetic: &[[f32; 4]]| {
            let (real, synthetic) = (real.as_flattened(), synthetic.as_flattened());
            let real = Features::new(real, 4).unwrap();
            Neighbours::new(real, Features::new(synthetic, 4).unwrap(), 3).unwrap()
        };
        let first = found(real, synthetic);
        let (mut turned_real, mut turned) = (real.to_vec(), synthetic.to_vec());
        turned_real.rotate_left(37);
        turned.reverse();
        assert_eq!(found(&turned_real, &turned), first);
        assert!(first.precision > 0.0 && first.precision < 1.0);
    }

    #[test]
    fn too_few_rows_are_an_error() {
        let values = [0.0, 1.0, 2.0];
        let set = Features::new(&values, 1).unwrap();
        assert!(Neighbours::new(set, set, 2).is_ok());
        for k in [0, 3] {
            assert!(Neighbours::new(set, set, k).is_err());
        }
    }
}
