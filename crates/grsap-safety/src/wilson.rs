/// The two-sided 97.5% quantile of the normal distribution.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's 95% interval for a proportion: `successes` of `trials`.
///
/// `None` for no trials. It stays within [0, 1] and has a width even at 0 and at all.
///
/// # Examples
///
/// ```
/// let (low, high) = grsap_safety::wilson_interval(2, 100).unwrap();
/// assert!((low - 0.005_502).abs() < 1e-6 && (high - 0.070_012).abs() < 1e-6);
/// ```
///
/// # Source
///
/// Wilson (1927), without continuity correction.
pub fn wilson_interval(successes: usize, trials: usize) -> Option<(f64, f64)> {
    if trials == 0 || successes > trials {
        return None;
    }
    let n = trials as f64;
    Some(wilson(successes as f64 / n, n))
}

/// The interval of the proportion `p` as if seen in `n` independent trials.
pub(crate) fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z_95 * Z_95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // At the ends the closed form gives exactly p; rounding must not leave it outside.
    ((centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trials_have_no_interval() {
        assert_eq!(wilson_interval(0, 0), None);
        assert_eq!(wilson_interval(3, 2), None);
    }

    #[test]
    fn the_ends_solve_the_defining_equation() {
        // |p - p0| = z sqrt(p0 (1 - p0) / n) at both ends p0.
        for (k, n) in [(1_usize, 7_usize), (30, 100), (99, 100), (5000, 10_000)] {
            let p = k as f64 / n as f64;
            let (low, high) = wilson_interval(k, n).unwrap();
            for p0 in [low, high] {
                let bound = Z_95 * (p0 * (1.0 - p0) / n as f64).sqrt();
                assert!(((p - p0).abs() - bound).abs() < 1e-12, "{k} of {n}");
            }
            assert!(low < p && p < high);
        }
    }

    #[test]
    fn the_ends_of_the_scale_have_a_width() {
        let (low, high) = wilson_interval(0, 10).unwrap();
        assert!(low == 0.0 && high > 0.2);
        let (low, high) = wilson_interval(10, 10).unwrap();
        assert!(low < 0.8 && high == 1.0);
    }
}
