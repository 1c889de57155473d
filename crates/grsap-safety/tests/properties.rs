//! What must hold for any scores: the order of rows, copies, and what could not be scored.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use grsap_safety::{
    BootstrapConfig, Estimate, IntervalMethod, McNemar, NonInferiority, Score, UnparsedPolicy,
    Worse, cohen_kappa, paired_change,
};
use proptest::prelude::*;

const POLICIES: [UnparsedPolicy; 3] = [
    UnparsedPolicy::Exclude,
    UnparsedPolicy::CountAsYes,
    UnparsedPolicy::CountAsNo,
];

/// A prompt's scores of two models, its measurement and its cluster.
#[derive(Debug, Clone, Copy)]
struct Row {
    first: Score,
    second: Score,
    measured: Score,
    cluster: usize,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let answer = || proptest::option::weighted(0.9, any::<bool>());
    let row = (
        answer(),
        answer(),
        proptest::option::of(-5.0..5.0_f64),
        0..12_usize,
    );
    let row = row.prop_map(|(first, second, measured, cluster)| Row {
        first: first.into(),
        second: second.into(),
        measured: Score { value: measured },
        cluster,
    });
    proptest::collection::vec(row, 1..60)
}

/// Everything that is computed of the rows; NaN-free, so that equality means what it says.
fn figures(rows: &[Row]) -> (Vec<Estimate>, Vec<McNemar>, Option<f64>) {
    let column = |of: fn(&Row) -> Score| rows.iter().map(of).collect::<Vec<_>>();
    let (first, second) = (column(|row| row.first), column(|row| row.second));
    let clusters: Vec<usize> = rows.iter().map(|row| row.cluster).collect();
    let config = BootstrapConfig {
        num_resamples: 40,
        seed: 1,
    };
    let methods = [
        IntervalMethod::Wilson,
        IntervalMethod::Bootstrap(config.clone()),
        IntervalMethod::ClusterBootstrap {
            clusters: &clusters,
            config,
        },
    ];
    let mut estimates = Vec::new();
    for method in &methods {
        for policy in POLICIES {
            estimates.push(Estimate::proportion(&first, policy, method).unwrap());
            estimates.push(paired_change(&first, &second, policy, method).unwrap());
            let test =
                NonInferiority::new(&first, &second, 0.1, Worse::Higher, policy, method).unwrap();
            estimates.push(test.change);
        }
        if *method != IntervalMethod::Wilson {
            estimates.push(Estimate::mean(&column(|row| row.measured), method).unwrap());
        }
    }
    let tests = vec![
        McNemar::new(&first, &second).unwrap(),
        McNemar::clustered(&first, &second, &clusters).unwrap(),
    ];
    let answers = |scores: &[Score]| {
        scores
            .iter()
            .map(|s| s.value.map(|x| x == 1.0))
            .collect::<Vec<_>>()
    };
    (
        estimates,
        tests,
        cohen_kappa(&answers(&first), &answers(&second)),
    )
}

proptest! {
    #[test]
    fn the_order_of_rows_changes_nothing(rows in rows(), turn in 0..60_usize) {
        let mut other = rows.clone();
        other.rotate_left(turn % rows.len());
        other.reverse();
        // New names for the clusters, too.
        for row in &mut other {
            row.cluster = 100 - row.cluster;
        }
        prop_assert_eq!(figures(&rows), figures(&other));
    }

    #[test]
    fn copies_narrow_no_interval_when_clustered(rows in rows(), times in 2..5_usize) {
        // Every row in a cluster of its own, and then its copies with it.
        let rows: Vec<Row> =
            rows.into_iter().enumerate().map(|(cluster, row)| Row { cluster, ..row }).collect();
        let copies = rows.repeat(times);
        let clustered = |rows: &[Row]| -> Vec<Estimate> {
            let clusters: Vec<usize> = rows.iter().map(|row| row.cluster).collect();
            let config = BootstrapConfig { num_resamples: 40, seed: 1 };
            let method = IntervalMethod::ClusterBootstrap { clusters: &clusters, config };
            let first: Vec<Score> = rows.iter().map(|row| row.first).collect();
            let second: Vec<Score> = rows.iter().map(|row| row.second).collect();
            POLICIES
                .into_iter()
                .flat_map(|policy| {
                    [
                        Estimate::proportion(&first, policy, &method).unwrap(),
                        paired_change(&first, &second, policy, &method).unwrap(),
                    ]
                })
                .collect()
        };
        for (once, more) in clustered(&rows).iter().zip(clustered(&copies)) {
            prop_assert_eq!(once.interval, more.interval);
            prop_assert_eq!(once.num_scored * times, more.num_scored);
        }
        let p = |rows: &[Row]| figures(rows).1[1].p_value;
        prop_assert!((p(&rows) - p(&copies)).abs() < 1e-12);
    }

    #[test]
    fn nothing_scored_gives_no_number(n in 1..50_usize) {
        let none = vec![Score::UNSCORED; n];
        let clusters: Vec<usize> = (0..n).map(|i| i / 2).collect();
        let config = BootstrapConfig::default();
        for method in [
            IntervalMethod::Wilson,
            IntervalMethod::Bootstrap(config.clone()),
            IntervalMethod::ClusterBootstrap { clusters: &clusters, config: config.clone() },
        ] {
            let expected = Estimate { num_unscored: n, ..Estimate::UNMEASURED };
            let policy = UnparsedPolicy::Exclude;
            prop_assert_eq!(Estimate::proportion(&none, policy, &method).unwrap(), expected);
            prop_assert_eq!(paired_change(&none, &none, policy, &method).unwrap(), expected);
            if method != IntervalMethod::Wilson {
                prop_assert_eq!(Estimate::mean(&none, &method).unwrap(), expected);
            }
            let test = NonInferiority::new(&none, &none, 1.0, Worse::Lower, policy, &method).unwrap();
            prop_assert!(!test.holds());
        }
    }
}
