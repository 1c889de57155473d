use grsap_core::SamplingParams;
use grsap_kernels::SoftmaxWeights;
use rand::{Rng, RngExt};

/// Draws one token from logits. `None` when they hold a NaN, or nothing finite.
///
/// Temperature first, then top-k, then top-p, as in transformers. Weights and sums are in double
/// precision and the same on every machine. `weights` is memory to work in.
pub(super) fn sample(
    logits: &[f32],
    params: &SamplingParams,
    rng: &mut dyn Rng,
    weights: &mut SoftmaxWeights,
) -> Option<u32> {
    let max = largest(logits)?;
    let best = logits.iter().position(|&logit| logit == max)?;
    if params.temperature == 0.0 {
        return u32::try_from(best).ok();
    }
    let uniform: f64 = rng.random();
    let top_k = params.top_k.filter(|&k| k < logits.len());
    let drawn = match top_k {
        Some(k) => {
            // Most probable first; equal logits in the order of the vocabulary.
            let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
            ranked.select_nth_unstable_by(k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            ranked.truncate(k);
            let kept: Vec<f32> = ranked.iter().map(|&(_, logit)| logit).collect();
            weights.set(&kept, max, params.temperature);
            let weighted = ranked.into_iter().zip(weights.values());
            let mut weighted: Vec<_> = weighted.map(|((id, _), &weight)| (id, weight)).collect();
            weighted.sort_unstable_by(by_rank);
            let total = weighted.iter().map(|&(_, weight)| weight).sum();
            nucleus(weighted, params.top_p, total, uniform)
        }
        None => {
            weights.set(logits, max, params.temperature);
            let total = weights.total();
            if params.top_p >= 1.0 {
                weights.pick(uniform * total)
            } else {
                // What is left out weighs less than 1 - top_p in all: none of it is needed.
                let least = (1.0 - params.top_p) * total / logits.len() as f64;
                let all = weights.values().iter().copied().enumerate();
                let likely = all.filter(|&(_, weight)| weight >= least).collect();
                nucleus(likely, params.top_p, total, uniform)
            }
        }
    };
    u32::try_from(drawn.unwrap_or(best)).ok()
}

/// `None` when there is a NaN, or nothing finite, or infinity.
fn largest(logits: &[f32]) -> Option<f32> {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut has_nan = false;
    let (whole, rest) = logits.as_chunks::<16>();
    for logits in whole {
        for (lane, &logit) in lanes.iter_mut().zip(logits) {
            has_nan |= logit.is_nan();
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    has_nan |= rest.iter().any(|logit| logit.is_nan());
    let max = lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    (!has_nan && max.is_finite()).then_some(max)
}

/// The largest weight first; equal ones in the order of the vocabulary.
fn by_rank(a: &(usize, f64), b: &(usize, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Draws from the smallest set whose weights reach the share `top_p` of `total`.
fn nucleus(mut weights: Vec<(usize, f64)>, top_p: f64, total: f64, uniform: f64) -> Option<usize> {
    // Sorting the head is enough nearly always; sort on only if its mass is too small.
    let (mut sorted, mut mass, mut kept) = (0, 0.0, 0);
    while kept < weights.len() && mass < top_p * total {
        if kept == sorted {
            let rest = weights.get_mut(sorted..)?;
            let head = rest.len().min((sorted * 4).max(256));
            if head < rest.len() {
                rest.select_nth_unstable_by(head - 1, by_rank);
            }
            rest.get_mut(..head)?.sort_unstable_by(by_rank);
            sorted += head;
        }
        mass += weights.get(kept)?.1;
        kept += 1;
    }
    let target = uniform * mass;
    let mut sum = 0.0;
    let mut kept = weights.into_iter().take(kept);
    let drawn = kept.find(|&(_, weight)| {
        sum += weight;
        sum > target
    });
    drawn.map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grsap_core::SamplingConfig;

    fn shares(config: SamplingConfig, logits: &[f32]) -> Vec<f64> {
        let params = SamplingParams::new(config).unwrap();
        let mut rng = grsap_core::rng(1, "test", &[]);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sample(logits, &params, &mut rng, &mut SoftmaxWeights::default()).unwrap()
                as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn close(got: &[f64], want: &[f64]) {
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 0.015, "{got:?} is not {want:?}");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.4f32.ln(), 0.1f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let base = SamplingConfig::default();
        close(&shares(base.clone(), &logits), &[0.4, 0.1, 0.3, 0.2]);
        let half = SamplingConfig {
            temperature: 0.5,
            ..base.clone()
        };
        close(
            &shares(half, &logits),
            &[16.0 / 30.0, 1.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0],
        );
        let top_k = SamplingConfig {
            top_k: Some(2),
            ..base.clone()
        };
        close(&shares(top_k, &logits), &[4.0 / 7.0, 0.0, 3.0 / 7.0, 0.0]);
        // 0.4 + 0.3 reach 0.65: the smallest set that does.
        let top_p = SamplingConfig {
            top_p: 0.65,
            ..base.clone()
        };
        close(&shares(top_p, &logits), &[4.0 / 7.0, 0.0, 3.0 / 7.0, 0.0]);
        let both = SamplingConfig {
            top_p: 0.5,
            top_k: Some(3),
            ..base
        };
        close(&shares(both, &logits), &[4.0 / 7.0, 0.0, 3.0 / 7.0, 0.0]);
    }

    #[test]
    fn a_flat_distribution_is_sorted_to_its_end() {
        let logits = vec![0.0f32; 3000];
        let params = SamplingParams::new(SamplingConfig {
            top_p: 0.999,
            ..Default::default()
        })
        .unwrap();
        let mut rng = grsap_core::rng(2, "test", &[]);
        let far = (0..200)
            .filter(|_| {
                sample(&logits, &params, &mut rng, &mut SoftmaxWeights::default()).unwrap() > 1500
            })
            .count();
        assert!((60..140).contains(&far), "{far}");
    }

    #[test]
    fn greedy_takes_the_first_maximum_and_nan_is_refused() {
        let mut rng = grsap_core::rng(3, "test", &[]);
        let greedy = SamplingParams::greedy(1);
        let mut draw =
            |logits: &[f32]| sample(logits, &greedy, &mut rng, &mut SoftmaxWeights::default());
        assert_eq!(draw(&[0.0, 2.0, 2.0]), Some(1));
        let long: Vec<f32> = (0..100).map(|i| (i * 37 % 100) as f32).collect();
        assert_eq!(draw(&long), Some(27));
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 5, 40, 99] {
                let mut logits = long.clone();
                logits[at] = bad;
                assert_eq!(draw(&logits), None);
            }
        }
        assert_eq!(draw(&[f32::NEG_INFINITY; 2]), None);
    }

    /// The definition: sort everything, take the head, draw.
    fn by_definition(logits: &[f32], params: &SamplingParams, uniform: f64) -> usize {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| ((f64::from(logit) - f64::from(max)) / params.temperature).exp();
        let mut ranked: Vec<(usize, f64)> = logits
            .iter()
            .map(|&logit| weight(logit))
            .enumerate()
            .collect();
        ranked.sort_by(by_rank);
        ranked.truncate(params.top_k.unwrap_or(usize::MAX));
        let total: f64 = ranked.iter().map(|(_, weight)| weight).sum();
        let (mut mass, mut kept) = (0.0, 0);
        while kept < ranked.len() && mass < params.top_p * total {
            mass += ranked[kept].1;
            kept += 1;
        }
        ranked.truncate(kept);
        if params.top_p >= 1.0 && params.top_k.is_none() {
            ranked.sort_by_key(|&(id, _)| id);
        }
        let mut sum = 0.0;
        let drawn = ranked.iter().find(|(_, weight)| {
            sum += weight;
            sum > uniform * mass
        });
        drawn.unwrap().0
    }

    #[test]
    fn draws_are_those_of_the_definition() {
        let mut rng = grsap_core::rng(5, "test", &[]);
        for round in 0..300 {
            let len = 1 + round * 17 % 3000;
            let spread = 1.0 + (round % 13) as f32;
            let logits: Vec<f32> = (0..len).map(|_| spread * rng.random::<f32>()).collect();
            let params = SamplingParams::new(SamplingConfig {
                temperature: [0.3, 1.0, 1.7][round % 3],
                top_p: [1.0, 0.5, 0.95, 0.999][round % 4],
                top_k: [None, Some(40), None, Some(1), None][round % 5],
                ..Default::default()
            })
            .unwrap();
            let mut same = rng.clone();
            let uniform: f64 = same.random();
            let got = sample(&logits, &params, &mut rng, &mut SoftmaxWeights::default());
            let want = by_definition(&logits, &params, uniform);
            assert_eq!(got, u32::try_from(want).ok(), "round {round}");
        }
    }
}
