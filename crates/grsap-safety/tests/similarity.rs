//! MAUVE against mauve-text, nearest neighbours against their definition in numpy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_safety::{Features, Mauve, MauveConfig, Neighbours};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    mauve: Vec<WholeCase>,
    buckets: Vec<BucketCase>,
    neighbours: Vec<NeighbourCase>,
}

#[derive(Deserialize)]
struct WholeCase {
    dim: usize,
    p: Vec<i32>,
    q: Vec<i32>,
    scaling_factor: f64,
    num_buckets: usize,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    seed: u64,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Deserialize)]
struct Figures {
    mauve: f64,
    mauve_star: f64,
    frontier_integral: f64,
    frontier_integral_star: f64,
}

impl Figures {
    /// The largest gap between these and ours.
    fn gap(&self, mauve: &Mauve) -> f64 {
        let gaps = [
            self.mauve - mauve.mauve,
            self.mauve_star - mauve.mauve_star,
            self.frontier_integral - mauve.frontier_integral,
            self.frontier_integral_star - mauve.frontier_integral_star,
        ];
        gaps.into_iter().map(f64::abs).fold(0.0, f64::max)
    }
}

#[derive(Deserialize)]
struct BucketCase {
    p: Vec<usize>,
    q: Vec<usize>,
    num_buckets: usize,
    scaling_factor: f64,
    num_mixtures: usize,
    curve: Vec<(f64, f64)>,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Deserialize)]
struct NeighbourCase {
    dim: usize,
    real: Vec<i32>,
    synthetic: Vec<i32>,
    k: usize,
    precision: f64,
    recall: f64,
    density: f64,
    coverage: f64,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/similarity/similarity.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn thousandths(numbers: &[i32]) -> Vec<f32> {
    numbers
        .iter()
        .map(|x| (f64::from(*x) / 1000.0) as f32)
        .collect()
}

/// Means and standard deviations over the seeds.
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

#[test]
fn from_the_clusters_on_all_figures_agree() {
    let cases = fixture().buckets;
    assert_eq!(cases.len(), 4);
    for case in cases {
        let config = MauveConfig {
            scaling_factor: case.scaling_factor,
            num_mixtures: case.num_mixtures,
            ..MauveConfig::default()
        };
        let mauve = Mauve::from_buckets(&case.p, &case.q, case.num_buckets, &config).unwrap();
        assert!(case.figures.gap(&mauve) < 1e-9, "{mauve:?}");
        assert_eq!(mauve.curve.len(), case.curve.len());
        for (got, expected) in mauve.curve.iter().zip(&case.curve) {
            assert!((got.0 - expected.0).abs() < 1e-9 && (got.1 - expected.1).abs() < 1e-9);
        }
    }
}

/// With the same seed the clusters are the same, so the figures are.
#[test]
fn whole_figures_agree_seed_by_seed() {
    let cases = fixture().mauve;
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (p, q) = (thousandths(&case.p), thousandths(&case.q));
        let p = Features::new(&p, case.dim).unwrap();
        let q = Features::new(&q, case.dim).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in &case.runs {
            let config = MauveConfig {
                num_buckets: Some(case.num_buckets),
                scaling_factor: case.scaling_factor,
                seed: run.seed,
                ..MauveConfig::default()
            };
            let mauve = Mauve::new(p, q, &config).unwrap();
            println!(
                "seed {}: {:.9} and {:.9}, largest gap {:.1e}",
                run.seed,
                mauve.mauve,
                run.figures.mauve,
                run.figures.gap(&mauve)
            );
            ours.push((mauve.mauve, run.figures.gap(&mauve)));
            theirs.push(run.figures.mauve);
        }
        let gaps: Vec<f64> = ours.iter().map(|(_, gap)| *gap).collect();
        let ours: Vec<f64> = ours.iter().map(|(mauve, _)| *mauve).collect();
        let ((mean, deviation), (mean_theirs, of_theirs)) = (spread(&ours), spread(&theirs));
        println!("{mean:.5} ± {deviation:.5} and {mean_theirs:.5} ± {of_theirs:.5}");
        assert!(gaps.iter().all(|gap| *gap < 1e-6), "{gaps:?}");
    }
}

#[test]
fn neighbours_agree() {
    let cases = fixture().neighbours;
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (real, synthetic) = (thousandths(&case.real), thousandths(&case.synthetic));
        let real = Features::new(&real, case.dim).unwrap();
        let synthetic = Features::new(&synthetic, case.dim).unwrap();
        let found = Neighbours::new(real, synthetic, case.k).unwrap();
        for (got, expected) in [
            (found.precision, case.precision),
            (found.recall, case.recall),
            (found.density, case.density),
            (found.coverage, case.coverage),
        ] {
            assert!((got - expected).abs() < 1e-12, "{found:?}: {expected}");
        }
    }
}
