/// The `q`-quantile of ascending values, linear between the two nearest ranks, as in
/// `numpy.quantile`. `None` when there are no values or `q` is not in [0, 1].
///
/// # Examples
///
/// ```
/// use grsap_synth::quantile;
///
/// let sorted = [1.0, 2.0, 4.0];
/// assert_eq!(quantile(&sorted, 0.5), Some(2.0));
/// assert_eq!(quantile(&sorted, 0.75), Some(3.0));
/// assert_eq!(quantile(&[], 0.5), None);
/// ```
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let rank = q * sorted.len().checked_sub(1)? as f64;
    let below = *sorted.get(rank.floor() as usize)?;
    let above = *sorted.get(rank.ceil() as usize)?;
    let part = rank.fract();
    if part == 0.0 {
        return Some(below);
    }
    // Written so that rounding never leaves the interval and equal neighbours give themselves.
    Some((below * (1.0 - part) + above * part).clamp(below, above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_those_of_numpy() {
        // numpy.quantile([15, 20, 35, 40, 50], q)
        let sorted = [15.0, 20.0, 35.0, 40.0, 50.0];
        let cases = [
            (0.0, 15.0),
            (0.05, 16.0),
            (0.25, 20.0),
            (0.3, 23.0),
            (0.4, 29.0),
            (0.95, 48.0),
            (1.0, 50.0),
        ];
        for (q, expected) in cases {
            let got = quantile(&sorted, q).unwrap();
            assert!((got - expected).abs() < 1e-12, "{q}: {got}");
        }
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        for q in [-0.1, 1.1, f64::NAN] {
            assert_eq!(quantile(&sorted, q), None);
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_monotone_and_inside(
            mut values in prop::collection::vec(-1e9..1e9f64, 1..50),
            a in 0.0..=1.0f64,
            b in 0.0..=1.0f64,
        ) {
            values.sort_by(f64::total_cmp);
            let (low, high) = (a.min(b), a.max(b));
            let low = quantile(&values, low).unwrap();
            let high = quantile(&values, high).unwrap();
            prop_assert!(low <= high);
            prop_assert!(values[0] <= low && high <= values[values.len() - 1]);
        }
    }
}
