use grsap_core::SamplingParams;
use rand::{Rng, RngExt};

/// Draws one token from logits. `None` when they hold a NaN, or nothing finite.
///
/// Temperature first, then top-k, then top-p, as in transformers. Sums are in double precision and
/// in the order of the vocabulary, so that the draw is the same everywhere.
pub(super) fn sample(logits: &[f32], params: &SamplingParams, rng: &mut dyn Rng) -> Option<u32> {
    let mut best = (0usize, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return None;
        }
        if logit > best.1 {
            best = (id, logit);
        }
    }
    if best.1 == f32::NEG_INFINITY || best.1 == f32::INFINITY {
        return None;
    }
    if params.temperature == 0.0 {
        return u32::try_from(best.0).ok();
    }
    let max = f64::from(best.1);
    let weight = |logit: f32| ((f64::from(logit) - max) / params.temperature).exp();
    let uniform: f64 = rng.random();
    if params.top_p >= 1.0 && params.top_k.is_none() {
        let weights: Vec<f64> = logits.iter().map(|&logit| weight(logit)).collect();
        let total: f64 = weights.iter().sum();
        return pick(weights.into_iter().enumerate(), uniform * total, best.0);
    }

    // Most probable first; equal logits in the order of the vocabulary.
    let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    let by_rank = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let total: f64 = match params.top_k {
        Some(k) if k < ranked.len() => {
            ranked.select_nth_unstable_by(k - 1, by_rank);
            ranked.truncate(k);
            ranked.sort_unstable_by(by_rank);
            ranked.iter().map(|&(_, logit)| weight(logit)).sum()
        }
        _ => logits.iter().map(|&logit| weight(logit)).sum(),
    };
    // Sorting the head is enough nearly always; sort on only if its mass is too small.
    let mut sorted = if params.top_k.is_some_and(|k| k < logits.len()) {
        ranked.len()
    } else {
        0
    };
    let mut mass = 0.0;
    let mut kept = Vec::new();
    for rank in 0..ranked.len() {
        if rank == sorted {
            let rest = ranked.get_mut(rank..)?;
            let head = rest.len().min((rank * 4).max(256));
            if head < rest.len() {
                rest.select_nth_unstable_by(head - 1, by_rank);
            }
            rest.get_mut(..head)?.sort_unstable_by(by_rank);
            sorted += head;
        }
        let &(id, logit) = ranked.get(rank)?;
        let w = weight(logit);
        kept.push((id, w));
        mass += w;
        if mass >= params.top_p * total {
            break;
        }
    }
    pick(kept.into_iter(), uniform * mass, best.0)
}

/// The first item at which the running sum passes `target`.
fn pick(weights: impl Iterator<Item = (usize, f64)>, target: f64, fallback: usize) -> Option<u32> {
    let mut sum = 0.0;
    for (id, weight) in weights {
        sum += weight;
        if sum > target {
            return u32::try_from(id).ok();
        }
    }
    u32::try_from(fallback).ok()
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
            counts[sample(logits, &params, &mut rng).unwrap() as usize] += 1.0 / 20_000.0;
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
            .filter(|_| sample(&logits, &params, &mut rng).unwrap() > 1500)
            .count();
        assert!((60..140).contains(&far), "{far}");
    }

    #[test]
    fn greedy_takes_the_first_maximum_and_nan_is_refused() {
        let mut rng = grsap_core::rng(3, "test", &[]);
        let greedy = SamplingParams::greedy(1);
        assert_eq!(sample(&[0.0, 2.0, 2.0], &greedy, &mut rng), Some(1));
        assert_eq!(sample(&[0.0, f32::NAN], &greedy, &mut rng), None);
        assert_eq!(sample(&[f32::NEG_INFINITY; 2], &greedy, &mut rng), None);
    }
}
