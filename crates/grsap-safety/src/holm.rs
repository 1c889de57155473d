use crate::MetricError;

/// Holm's correction: p-values adjusted for as many tests as there are, in the order given.
///
/// Where all hypotheses whose adjusted p-value is at most 0.05 are rejected, the chance that one of them is true
/// is at most 5%, however the tests depend on one another. Use it where one of several sets is
/// enough for a claim ("it got worse on some set"). A claim about all sets at once ("it got worse
/// on none") needs no correction.
///
/// # Errors
///
/// [`MetricError`] for a p-value outside [0, 1].
///
/// # Examples
///
/// ```
/// assert_eq!(grsap_safety::holm(&[0.125, 0.5, 0.0625])?, [0.25, 0.5, 0.1875]);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
///
/// # Source
///
/// Holm, A simple sequentially rejective multiple test procedure (1979).
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, MetricError> {
    if let Some(bad) = p_values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(MetricError::Config {
            field: "a p-value",
            expected: "between 0 and 1",
            got: bad.to_string(),
        });
    }
    let mut order: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, (at, p)) in order.into_iter().enumerate() {
        largest = largest.max((p * (p_values.len() - rank) as f64).min(1.0));
        if let Some(to) = adjusted.get_mut(at) {
            *to = largest;
        }
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends() {
        assert!(holm(&[]).unwrap().is_empty());
        assert_eq!(holm(&[0.25]).unwrap(), [0.25]);
        assert_eq!(holm(&[0.0, 1.0, 0.75]).unwrap(), [0.0, 1.0, 1.0]);
        // Equal ones stay equal.
        assert_eq!(holm(&[0.25, 0.25]).unwrap(), [0.5, 0.5]);
    }

    #[test]
    fn bad_values_are_named() {
        for bad in [-0.5, 1.5, f64::NAN] {
            let error = holm(&[0.5, bad]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("a p-value must be between 0 and 1, got {bad}")
            );
        }
    }
}
