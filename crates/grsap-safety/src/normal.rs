//! The standard normal distribution.

use std::f64::consts::SQRT_2;

/// P(Z <= x).
pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The x with P(Z <= x) = `p`, for `p` within (0, 1).
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    // Below the median the distribution function keeps its relative precision.
    let (mut low, mut high) = (-40.0, 0.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if normal_cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(normal_cdf(0.0), 0.5);
        assert!((normal_cdf(-1.0) - 0.158_655_253_931_457_05).abs() < 1e-16);
        assert!((normal_cdf(-10.0) / 7.619_853_024_160_525e-24 - 1.0).abs() < 1e-12);
        assert!((normal_quantile(0.975) - crate::wilson::Z_95).abs() < 1e-14);
        assert!((normal_quantile(0.2) + 0.841_621_233_572_914_2).abs() < 1e-14);
        assert!(normal_quantile(0.5).abs() < 1e-15);
    }
}
