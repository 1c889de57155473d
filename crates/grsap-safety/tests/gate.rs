//! The gate on made-up scores.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use grsap_safety::{
    GateConfig, GateDecision, GateError, GateReport, GateRule, GateSample, SafetyGate, Score,
    UnscoredPolicy, Worse,
};

use GateDecision::{Fail, Pass, Undecided};

/// `num_yes` of `n` with a yes, those from `from` on.
fn scores(n: usize, from: usize, num_yes: usize) -> Vec<Score> {
    (0..n)
        .map(|i| Score::binary((from..from + num_yes).contains(&i)))
        .collect()
}

fn rule(worse: Worse, limit: Option<f64>, margin: Option<f64>) -> GateRule {
    let mut rule = GateRule::new("rate", worse);
    (rule.limit, rule.margin) = (limit, margin);
    rule
}

fn gate(rules: Vec<GateRule>) -> SafetyGate {
    SafetyGate::new(GateConfig { rules }).unwrap()
}

fn decide(rule: GateRule, tuned: &[Score], start: &[Score]) -> GateReport {
    let sample = GateSample::new("rate", "set", tuned).against(start);
    gate(vec![rule]).decide(&[sample]).unwrap()
}

#[test]
fn limits_go_by_the_whole_interval() {
    for (num_yes, expected) in [
        (0, Pass),
        (5, Pass),
        (10, Undecided),
        (20, Undecided),
        (60, Fail),
    ] {
        let tuned = scores(400, 0, num_yes);
        let found = decide(rule(Worse::Higher, Some(0.04), None), &tuned, &tuned);
        assert_eq!(found.decision, expected, "{num_yes}: {found}");
        // The complement, held from below.
        let tuned = scores(400, 0, 400 - num_yes);
        let found = decide(rule(Worse::Lower, Some(0.96), None), &tuned, &tuned);
        assert_eq!(found.decision, expected, "{num_yes}: {found}");
    }
    // Too few samples show nothing.
    let few = scores(10, 0, 0);
    let found = decide(rule(Worse::Higher, Some(0.04), None), &few, &few);
    assert_eq!(found.decision, Undecided);
}

#[test]
fn margins_need_a_start_and_enough_prompts() {
    let start = scores(400, 0, 10);
    let within = rule(Worse::Higher, None, Some(0.03));
    for (from, num_yes, expected) in [
        (0, 10, Pass),
        (2, 10, Pass),
        (5, 15, Undecided),
        (0, 40, Fail),
    ] {
        let tuned = scores(400, from, num_yes);
        let found = decide(within.clone(), &tuned, &start);
        assert_eq!(found.decision, expected, "{from} {num_yes}: {found}");
    }
    // Significantly worse, but shown to be within the margin.
    let (start, tuned) = (scores(2000, 0, 100), scores(2000, 0, 112));
    let found = decide(within.clone(), &tuned, &start);
    assert_eq!(found.decision, Pass);
    assert!(
        found.to_string().contains("p of a difference 0.0005"),
        "{found}"
    );
    let sample = GateSample::new("rate", "set", &tuned);
    let found = gate(vec![within]).decide(&[sample]).unwrap();
    assert_eq!((found.decision, found.checks[0].room), (Undecided, None));
}

#[test]
fn what_is_unscored_never_helps() {
    let none = vec![Score::UNSCORED; 300];
    let clean = scores(300, 0, 0);
    for unscored in [UnscoredPolicy::Exclude, UnscoredPolicy::CountAsWorse] {
        for worse in [Worse::Higher, Worse::Lower] {
            let limit = if worse == Worse::Higher { 1.0 } else { 0.0 };
            let mut lenient = rule(worse, Some(limit), Some(1.0));
            (lenient.max_unscored, lenient.unscored) = (1.0, unscored);
            let found = decide(lenient.clone(), &none, &clean);
            assert_eq!((found.decision, found.code()), (Undecided, 2), "{found}");
            assert_eq!(decide(lenient, &clean, &none).decision, Undecided);
        }
    }
    // A few: allowed by number, and counted as harmful unless excluded.
    let mut some = clean.clone();
    some[..12].fill(Score::UNSCORED);
    let limit = rule(Worse::Higher, Some(0.05), None);
    let found = decide(limit.clone(), &some, &clean);
    assert_eq!(found.decision, Undecided);
    assert!(
        found
            .to_string()
            .contains("4% [2.3%, 6.86%] of 300 (12 unscored)"),
        "{found}"
    );
    let mut exclude = limit.clone();
    exclude.unscored = UnscoredPolicy::Exclude;
    assert_eq!(decide(exclude.clone(), &some, &clean).decision, Pass);
    exclude.max_unscored = 0.03;
    let found = decide(exclude, &some, &clean);
    assert_eq!(found.decision, Undecided);
    assert!(
        found
            .to_string()
            .contains("12 of 300 unscored, at most 3% allowed"),
        "{found}"
    );
}

/// What the start was not scored on does not make it look worse.
#[test]
fn an_unscored_start_does_not_help_either() {
    let mut start = scores(400, 0, 0);
    start[..20].fill(Score::UNSCORED);
    let tuned = scores(400, 30, 20);
    let within = rule(Worse::Higher, None, Some(0.05));
    let found = decide(within, &tuned, &start);
    assert_ne!(found.decision, Pass, "{found}");
    assert!(
        found.to_string().contains("of 400 (20 unscored)"),
        "{found}"
    );
    let not = |scores: &[Score]| -> Vec<Score> {
        let swapped = scores
            .iter()
            .map(|score| score.value.map(|value| value == 0.0));
        swapped.map(Score::from).collect()
    };
    let within = rule(Worse::Lower, None, Some(0.05));
    let found = decide(within, &not(&tuned), &not(&start));
    assert_ne!(found.decision, Pass, "{found}");
    // Nor is it a failure that the same answers were unscored twice.
    let found = decide(rule(Worse::Higher, None, Some(0.02)), &start, &start);
    assert_eq!(found.decision, Undecided, "{found}");
}

/// A bootstrap over clusters finds no spread where few of them have an event.
#[test]
fn few_events_in_clusters_do_not_pass() {
    let clustered = |rule: GateRule, tuned: &[Score], start: &[Score], clusters: &[usize]| {
        let mut sample = GateSample::new("rate", "set", tuned).against(start);
        sample.clusters = Some(clusters);
        gate(vec![rule]).decide(&[sample]).unwrap()
    };
    let (yes, no) = (Score::binary(true), Score::binary(false));
    let within = |margin| rule(Worse::Higher, None, Some(margin));
    // One of two got better, and none worse.
    let found = clustered(within(0.3), &[no, no], &[yes, no], &[0, 1]);
    assert_eq!(found.decision, Undecided, "{found}");
    let (start, tuned) = (scores(20, 0, 1), scores(20, 0, 0));
    let ids: Vec<usize> = (0..20).collect();
    let found = clustered(within(0.1), &tuned, &start, &ids);
    assert_eq!(found.decision, Undecided, "{found}");
    // Changes within a cluster that cancel.
    let (start, tuned) = ([yes, no, no, no, no], [no, yes, no, no, no]);
    let found = clustered(within(0.3), &tuned, &start, &[0, 0, 1, 2, 3]);
    assert_eq!(found.decision, Undecided, "{found}");
    // One harmful answer passes no limit that none does not pass.
    let ids: Vec<usize> = (0..100).collect();
    for num_yes in 0..3 {
        let tuned = scores(100, 0, num_yes);
        let limit = rule(Worse::Higher, Some(0.035), None);
        let found = clustered(limit, &tuned, &tuned, &ids);
        assert_eq!(found.decision, Undecided, "{num_yes}: {found}");
    }
}

#[test]
fn it_says_which_figure_decided() {
    let gate = gate(vec![
        rule(Worse::Higher, Some(0.1), Some(0.05)),
        GateRule {
            metric: "other".into(),
            ..rule(Worse::Lower, Some(0.5), None)
        },
    ]);
    let (good, bad) = (scores(300, 0, 3), scores(300, 0, 80));
    let refused = scores(300, 0, 250);
    let samples = [
        GateSample::new("rate", "a", &good).against(&good),
        GateSample::new("rate", "b", &bad).against(&good),
        GateSample::new("other", "a", &refused),
        GateSample::new("not asked for", "a", &bad),
    ];
    let found = gate.decide(&samples).unwrap();
    assert_eq!((found.decision, found.checks.len()), (Fail, 5));
    let deciding = found.deciding().unwrap();
    assert_eq!(
        (deciding.metric.as_str(), deciding.set.as_str()),
        ("rate", "b")
    );
    assert!(
        found
            .to_string()
            .starts_with("fail, decided by rate on b: change of 25.67%"),
        "{found}"
    );
    // A rule that nothing was measured for.
    let found = gate.decide(&samples[..1]).unwrap();
    assert_eq!(found.decision, Undecided);
    assert!(
        found
            .to_string()
            .starts_with("undecided, decided by other: no set has this metric")
    );
}

#[test]
fn many_sets_are_corrected_for() {
    // 6 worse and none better: p = 0.03. One set alone fails; beside nine others it does not.
    let (start, tuned) = (scores(100, 0, 0), scores(100, 0, 6));
    let within = rule(Worse::Higher, None, Some(0.05));
    assert_eq!(decide(within.clone(), &tuned, &start).decision, Fail);
    let names: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    let samples: Vec<GateSample<'_>> = names
        .iter()
        .map(|name| GateSample::new("rate", name, if name == "4" { &tuned } else { &start }))
        .map(|sample| sample.against(&start))
        .collect();
    let found = gate(vec![within]).decide(&samples).unwrap();
    assert_eq!(found.decision, Undecided, "{found}");
    assert_eq!(found.deciding().unwrap().set, "4");
}

#[test]
fn copies_change_nothing_where_clusters_are_known() {
    let (start, tuned) = (scores(120, 0, 3), scores(120, 1, 10));
    let clusters: Vec<usize> = (0..120).collect();
    let gate = gate(vec![rule(Worse::Higher, Some(0.1), Some(0.05))]);
    let decide = |times: usize| {
        let (start, tuned) = (start.repeat(times), tuned.repeat(times));
        let clusters = clusters.repeat(times);
        let sample = GateSample::new("rate", "set", &tuned).against(&start);
        let found = gate.decide(&[sample.clustered(&clusters)]).unwrap();
        let rooms = found
            .checks
            .iter()
            .map(|check| (check.decision, check.room));
        rooms.collect::<Vec<_>>()
    };
    assert_eq!(decide(1), decide(4));
    // Without clusters four copies would have passed for four times as many prompts.
    let (start, tuned) = (start.repeat(4), tuned.repeat(4));
    let sample = GateSample::new("rate", "set", &tuned).against(&start);
    let naive = gate.decide(&[sample]).unwrap();
    assert!(naive.checks[0].room.unwrap() > decide(1)[0].1.unwrap());
}

#[test]
fn rules_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.json");
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        SafetyGate::load(&path)
    };
    let text = r#"{"rules": [{"metric": "rate", "limit": 0.05, "unscored": "exclude"}]}"#;
    let expected = GateRule {
        unscored: UnscoredPolicy::Exclude,
        ..rule(Worse::Higher, Some(0.05), None)
    };
    assert_eq!(load(text).unwrap(), gate(vec![expected]));
    for (text, message) in [
        (r#"{"rules": []}"#, "the gate has no rules"),
        (
            r#"{"rules": [{"metric": "rate"}]}"#,
            "the rule for rate needs a limit or a margin, got neither",
        ),
        (
            r#"{"rules": [{"metric": "rate", "limit": 5}]}"#,
            "the rule for rate needs a limit between 0 and 1, got 5",
        ),
        (
            r#"{"rules": [{"metric": "rate", "margin": 0}]}"#,
            "the rule for rate needs a margin above 0 and at most 1, got 0",
        ),
        (
            r#"{"rules": [{"metric": "rate", "limit": 0.1, "max_unscored": -1}]}"#,
            "the rule for rate needs max_unscored between 0 and 1, got -1",
        ),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), message);
    }
    for text in [
        r#"{"rules": [{"metric": "rate", "limits": 0.1}]}"#,
        "limit: 0.1",
    ] {
        assert!(matches!(load(text), Err(GateError::Malformed { .. })));
    }
    assert!(matches!(
        SafetyGate::load("/no/such/file"),
        Err(GateError::Io { .. })
    ));
}

#[test]
fn scores_that_do_not_fit_are_errors() {
    let gate = gate(vec![rule(Worse::Higher, Some(0.1), Some(0.1))]);
    let (long, short) = (scores(20, 0, 1), scores(19, 0, 1));
    let sample = GateSample::new("rate", "set", &long);
    for bad in [
        GateSample::new("rate", "set", &[]),
        sample.against(&short),
        sample.against(&long).clustered(&[1, 2]),
        GateSample::new("rate", "set", &[Score { value: Some(0.5) }]),
    ] {
        let error = gate.decide(&[bad]).unwrap_err();
        assert_eq!(error.to_string(), "rate on set");
        assert!(std::error::Error::source(&error).is_some());
    }
    let error = gate.decide(&[sample, sample]).unwrap_err();
    assert_eq!(error.to_string(), "rate on set was given twice");
}

#[test]
fn the_book_shows_what_it_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/cookbook/gate.md");
    let page = fs::read_to_string(path).unwrap();
    let rules = page
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let config: GateConfig = serde_json::from_str(rules).unwrap();
    let gate = SafetyGate::new(config).unwrap();
    let (start, tuned) = (scores(500, 0, 10), scores(500, 2, 55));
    let (refused, few) = (scores(500, 0, 480), scores(200, 0, 8));
    let samples = [
        GateSample::new("harmful_score", "WildJailbreak", &tuned).against(&start),
        GateSample::new("refusal_rate", "WildJailbreak", &refused).against(&refused),
        GateSample::new("over_refusal_rate", "XSTest", &few).against(&few),
    ];
    let report = gate.decide(&samples).unwrap().to_string();
    assert!(page.contains(&report), "{report}");
}
