use rayon::prelude::*;

use super::mersenne_twister::MersenneTwister;
use super::product::{BLOCK, Element};

/// How k-means runs; its draws are those of FAISS for the same seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KMeans {
    pub(crate) num_clusters: usize,
    pub(crate) max_iter: usize,
    pub(crate) num_redo: usize,
    pub(crate) seed: u64,
}

/// FAISS' distance between the seeds of two runs.
const REDO_STRIDE: u64 = 15_486_557;

/// FAISS' fixed seed for the choice of the clusters that are split.
const SPLIT_SEED: u32 = 1234;

impl KMeans {
    /// The cluster of every point, `[points, dim]`; there are at least as many points as clusters.
    ///
    /// Lloyd's iterations from random points until the assignments repeat (which no further iteration
    /// would change) or the sum of squared distances does not change in `f32`; the run with the smallest
    /// sum counts. An empty cluster takes half of another one. The same seed gives the same
    /// clusters, whatever the number of threads.
    pub(crate) fn assign(&self, points: &[f32], dim: usize) -> Vec<u32> {
        let points = Points::new(points, dim);
        let mut best: Option<(f32, Vec<f32>)> = None;
        for redo in 0..self.num_redo as u64 {
            // The seed of the generator has 32 bits; the rest is dropped as there.
            let seed = self.seed.wrapping_add(1).wrapping_add(redo * REDO_STRIDE) as u32;
            let (sum, centroids) = self.run(&points, seed);
            if best.as_ref().is_none_or(|(least, _)| sum < *least) {
                best = Some((sum, centroids));
            }
        }
        let mut nearest = Nearest::new(points.num());
        if let Some((_, centroids)) = best {
            points.search(&centroids, &vec![true; self.num_clusters], &mut nearest);
        }
        nearest.labels
    }

    fn run(&self, points: &Points<'_>, seed: u32) -> (f32, Vec<f32>) {
        let dim = points.dim;
        let order = MersenneTwister::new(seed).permutation(points.num());
        let mut centroids: Vec<f32> = order
            .into_iter()
            .take(self.num_clusters)
            .flat_map(|at| points.row(at))
            .copied()
            .collect();
        let mut nearest = Nearest::new(points.num());
        let (mut sum, mut previous) = (f32::INFINITY, Vec::new());
        let mut moved = vec![true; self.num_clusters];
        for _ in 0..self.max_iter {
            points.search(&centroids, &moved, &mut nearest);
            let before = std::mem::replace(&mut sum, nearest.distances.iter().sum());
            if nearest.labels == previous {
                break;
            }
            previous.clone_from(&nearest.labels);
            let old = centroids.clone();
            let mut sizes = points.means(&nearest.labels, &mut centroids);
            split_empty(&mut sizes, &mut centroids, dim, points.num());
            let pairs = old.chunks(dim).zip(centroids.chunks(dim));
            moved = pairs.map(|(old, new)| old != new).collect();
            if sum == before {
                break;
            }
        }
        (sum, centroids)
    }
}

/// What [`Points::search`] finds for each point.
struct Nearest {
    labels: Vec<u32>,
    distances: Vec<f32>,
}

impl Nearest {
    fn new(n: usize) -> Self {
        Self {
            labels: vec![0; n],
            distances: vec![0.0; n],
        }
    }
}

/// Centroids that points are held against.
struct Centroids {
    values: Vec<f32>,
    squares: Vec<f32>,
    /// Their places among all, ascending.
    places: Vec<u32>,
}

impl Centroids {
    fn new(all: &[f32], dim: usize, places: impl Iterator<Item = u32>) -> Self {
        let places: Vec<u32> = places.collect();
        let row = |at: &u32| {
            let from = *at as usize * dim;
            all.get(from..from + dim).unwrap_or_default()
        };
        let values: Vec<f32> = places.iter().flat_map(row).copied().collect();
        Self {
            squares: squares(&values, dim),
            values,
            places,
        }
    }
}

/// What one task works with.
#[derive(Default)]
struct Scratch {
    points: Vec<f32>,
    squares: Vec<f32>,
    products: Vec<f32>,
}

impl Scratch {
    fn gather<'a>(&mut self, rows: impl Iterator<Item = (&'a [f32], &'a f32)>) {
        self.points.clear();
        self.squares.clear();
        for (row, square) in rows {
            self.points.extend_from_slice(row);
            self.squares.push(*square);
        }
    }

    /// The place of the nearest centroid and the squared distance, for each of the gathered points.
    fn least_distances<'a>(
        &'a mut self,
        centroids: &'a Centroids,
        dim: usize,
    ) -> impl Iterator<Item = (u32, f32)> + 'a {
        let num = centroids.places.len();
        self.products.resize(self.squares.len() * num, 0.0);
        f32::rows_by_rows(&self.points, &centroids.values, dim, &mut self.products);
        // No chunks, and so no answers, where there are no centroids.
        let rows = self.products.chunks(num.max(1)).zip(&self.squares);
        rows.map(|(row, square)| {
            let (at, least) = least_distance(row, *square, &centroids.squares);
            let place = centroids.places.get(at as usize).copied();
            (place.unwrap_or_default(), least)
        })
    }
}

struct Points<'a> {
    values: &'a [f32],
    dim: usize,
    squares: Vec<f32>,
}

impl<'a> Points<'a> {
    fn new(values: &'a [f32], dim: usize) -> Self {
        Self {
            values,
            dim,
            squares: squares(values, dim),
        }
    }

    fn num(&self) -> usize {
        self.squares.len()
    }

    fn row(&self, at: usize) -> &'a [f32] {
        let from = at * self.dim;
        self.values.get(from..from + self.dim).unwrap_or_default()
    }

    /// The nearest centroid of every point and its squared distance; of equals the first.
    ///
    /// `nearest` holds the answer for centroids of which only those with a flag in `moved` were others. So a
    /// point whose centroid stayed needs to be held against the moved ones alone, and the others against
    /// all; the result is the same in every bit.
    fn search(&self, centroids: &[f32], moved: &[bool], nearest: &mut Nearest) {
        let all = Centroids::new(centroids, self.dim, (0_u32..).zip(moved).map(|(at, _)| at));
        let flagged = (0_u32..).zip(moved).filter(|(_, moved)| **moved);
        let others = Centroids::new(centroids, self.dim, flagged.map(|(at, _)| at));
        let blocks = self.values.par_chunks(BLOCK * self.dim);
        blocks
            .zip(self.squares.par_chunks(BLOCK))
            .zip(nearest.labels.par_chunks_mut(BLOCK))
            .zip(nearest.distances.par_chunks_mut(BLOCK))
            .for_each_init(
                Scratch::default,
                |scratch, (((points, squares), labels), least)| {
                    let is_lost = |label: &u32| moved.get(*label as usize).copied().unwrap_or(true);
                    let lost: Vec<bool> = labels.iter().map(is_lost).collect();
                    for (wanted, centroids) in [(true, &all), (false, &others)] {
                        let rows = points.chunks(self.dim).zip(squares).zip(&lost);
                        scratch.gather(
                            rows.filter(|(_, lost)| **lost == wanted)
                                .map(|(row, _)| row),
                        );
                        let found = scratch.least_distances(centroids, self.dim);
                        let places = labels.iter_mut().zip(least.iter_mut()).zip(&lost);
                        let places = places.filter(|(_, lost)| **lost == wanted);
                        for (((label, least), _), new) in places.zip(found) {
                            let is_nearer = new.1 < *least || (new.1 == *least && new.0 < *label);
                            if wanted || is_nearer {
                                (*label, *least) = new;
                            }
                        }
                    }
                },
            );
    }

    /// Puts the mean of every cluster into `centroids` and returns the sizes. A cluster without points
    /// gets zeros.
    fn means(&self, labels: &[u32], centroids: &mut [f32]) -> Vec<f32> {
        let num_clusters = centroids.len() / self.dim;
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); num_clusters];
        for (at, label) in labels.iter().enumerate() {
            if let Some(members) = members.get_mut(*label as usize) {
                members.push(at);
            }
        }
        centroids
            .par_chunks_mut(self.dim)
            .zip(&members)
            .for_each(|(centroid, members)| {
                centroid.fill(0.0);
                for at in members {
                    for (sum, x) in centroid.iter_mut().zip(self.row(*at)) {
                        *sum += x;
                    }
                }
                if !members.is_empty() {
                    let share = 1.0 / members.len() as f32;
                    centroid.iter_mut().for_each(|sum| *sum *= share);
                }
            });
        members.iter().map(|members| members.len() as f32).collect()
    }
}

fn squares(values: &[f32], dim: usize) -> Vec<f32> {
    let square = |row: &[f32]| row.iter().map(|x| x * x).sum();
    values
        .par_chunks(dim)
        .with_min_len(64)
        .map(square)
        .collect()
}

/// The first of the least `|x|² + |c|² - 2 x·c`.
fn least_distance(products: &[f32], square: f32, of_centroids: &[f32]) -> (u32, f32) {
    const LANES: usize = 8;
    let distance = |product: f32, of_centroid: f32| (square + of_centroid - 2.0 * product).max(0.0);
    let mut least = [f32::INFINITY; LANES];
    let mut places = [0_u32; LANES];
    let (whole, squares) = (
        products.chunks_exact(LANES),
        of_centroids.chunks_exact(LANES),
    );
    let rest = whole.remainder().iter().zip(squares.remainder());
    let start = (products.len() - whole.remainder().len()) as u32;
    // Side by side, so that the compiler makes vectors of it.
    for (turn, (products, squares)) in (0_u32..).zip(whole.zip(squares)) {
        let lanes = least.iter_mut().zip(&mut places);
        for ((least, place), (product, square)) in lanes.zip(products.iter().zip(squares)) {
            let found = distance(*product, *square);
            let nearer = found < *least;
            *least = if nearer { found } else { *least };
            *place = if nearer { turn } else { *place };
        }
    }
    let lanes = (0_u32..).zip(places).zip(least);
    let mut found = lanes
        .map(|((lane, turn), least)| (turn * LANES as u32 + lane, least))
        .fold((u32::MAX, f32::INFINITY), |best, new| {
            let before = new.1 < best.1 || (new.1 == best.1 && new.0 < best.0);
            if before { new } else { best }
        });
    for (place, (product, square)) in (start..).zip(rest) {
        let distance = distance(*product, *square);
        if distance < found.1 {
            found = (place, distance);
        }
    }
    found
}

/// Every empty cluster takes half of another, which is drawn with a chance that grows with its size.
fn split_empty(sizes: &mut [f32], centroids: &mut [f32], dim: usize, num_points: usize) {
    const SHIFT: f64 = 1.0 / 1024.0;
    let num_clusters = sizes.len();
    let spare = num_points.saturating_sub(num_clusters) as f32;
    let mut twister = MersenneTwister::new(SPLIT_SEED);
    for empty in 0..num_clusters {
        if sizes.get(empty).is_none_or(|size| *size != 0.0) {
            continue;
        }
        let mut candidates = (0..num_clusters).cycle();
        let Some(split) = candidates.find(|at| {
            let size = sizes.get(*at).copied().unwrap_or_default();
            let chance = ((f64::from(size) - 1.0) / f64::from(spare)) as f32;
            twister.next_unit() < chance
        }) else {
            return;
        };
        for at in 0..dim {
            let sign = if at % 2 == 0 { 1.0 } else { -1.0 };
            let old = centroids.get(split * dim + at).copied().unwrap_or_default();
            for (cluster, sign) in [(empty, sign), (split, -sign)] {
                if let Some(to) = centroids.get_mut(cluster * dim + at) {
                    *to = (f64::from(old) * (1.0 + sign * SHIFT)) as f32;
                }
            }
        }
        let size = sizes.get(split).copied().unwrap_or_default();
        for (cluster, size) in [(empty, size / 2.0), (split, size - size / 2.0)] {
            if let Some(to) = sizes.get_mut(cluster) {
                *to = size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn random(rows: usize, dim: usize) -> Vec<f32> {
        let mut rng = grsap_core::rng(5, "k-means", &[]);
        (0..rows * dim)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect()
    }

    fn config(num_clusters: usize) -> KMeans {
        KMeans {
            num_clusters,
            max_iter: 100,
            num_redo: 3,
            seed: 27,
        }
    }

    #[test]
    fn it_finds_clusters_that_are_there() {
        let mut rng = grsap_core::rng(1, "groups", &[]);
        let points: Vec<f32> = (0..300)
            .flat_map(|i| [(i % 3) as f32 * 10.0, 0.0])
            .map(|x| x + rng.random_range(-1.0..1.0))
            .collect();
        let labels = config(3).assign(&points, 2);
        for i in 0..300 {
            for j in 0..i {
                assert_eq!(labels[i] == labels[j], i % 3 == j % 3);
            }
        }
    }

    #[test]
    fn the_search_is_the_definition() {
        let dim = 9;
        let (points, centroids) = (random(700, dim), random(30, dim));
        let points = Points::new(&points, dim);
        let mut nearest = Nearest::new(points.num());
        points.search(&centroids[..29 * dim], &[true; 29], &mut nearest);
        for (at, (label, least)) in nearest.labels.iter().zip(&nearest.distances).enumerate() {
            let distance = |c: &[f32]| -> f32 {
                let pairs = points.row(at).iter().zip(c);
                pairs.map(|(x, y)| (x - y).powi(2)).sum()
            };
            let all: Vec<f32> = centroids[..29 * dim].chunks(dim).map(distance).collect();
            assert!((all[*label as usize] - least).abs() < 1e-5);
            assert!(all.iter().all(|other| other > &(least - 1e-5)));
        }
    }

    #[test]
    fn centroids_that_stayed_need_no_second_look() {
        let dim = 9;
        let (points, mut centroids) = (random(1200, dim), random(30, dim));
        let points = Points::new(&points, dim);
        let mut nearest = Nearest::new(points.num());
        points.search(&centroids, &[true; 30], &mut nearest);
        for step in 0..31 {
            // None, a few, and in the end all of them move.
            let moved: Vec<bool> = (0..30).map(|at| at * 7 % 30 < step).collect();
            for (at, centroid) in centroids.chunks_mut(dim).enumerate() {
                if moved[at] {
                    centroid.rotate_left(1);
                }
            }
            points.search(&centroids, &moved, &mut nearest);
            let mut anew = Nearest::new(points.num());
            points.search(&centroids, &[true; 30], &mut anew);
            assert_eq!(nearest.labels, anew.labels);
            assert_eq!(nearest.distances, anew.distances);
        }
    }

    #[test]
    fn of_equal_distances_the_first() {
        for len in [1, 7, 8, 9, 30] {
            assert_eq!(
                least_distance(&vec![0.0; len], 1.0, &vec![1.0; len]),
                (0, 2.0)
            );
            let mut products = vec![0.0; len];
            products[len - 1] = 1.0;
            let found = least_distance(&products, 1.0, &vec![1.0; len]);
            assert_eq!(found, (len as u32 - 1, 0.0));
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let points = random(1500, 20);
        let with = |num_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads);
            let pool = pool.build().unwrap();
            pool.install(|| config(40).assign(&points, 20))
        };
        let one = with(1);
        assert_eq!(one, with(3));
        let other = KMeans {
            seed: 28,
            ..config(40)
        };
        assert_ne!(one, other.assign(&points, 20));
    }

    #[test]
    fn points_that_are_all_alike_come_to_an_end() {
        let labels = config(5).assign(&[0.5; 40], 2);
        assert!(labels.iter().all(|label| *label == labels[0]));
        let labels = config(5).assign(&[0.0; 40], 2);
        assert!(labels.iter().all(|label| *label == 0));
        // As many clusters as points.
        let points = random(6, 3);
        let labels: std::collections::BTreeSet<u32> =
            config(6).assign(&points, 3).into_iter().collect();
        assert_eq!(labels.len(), 6);
    }
}
