use std::collections::HashMap;
use std::hash::Hash;

/// Cohen's kappa: how far two judges agree beyond what their shares of each answer would give by
/// chance. 1 is full agreement, 0 is chance.
///
/// `None` for lists of different lengths, for empty ones, and where chance alone gives full
/// agreement because both judges always say the same one thing.
///
/// # Examples
///
/// ```
/// use grsap_safety::cohen_kappa;
///
/// assert_eq!(cohen_kappa(&[true, true, false, false], &[true, false, false, false]), Some(0.5));
/// assert_eq!(cohen_kappa(&[true], &[true]), None);
/// ```
///
/// # Source
///
/// Cohen, A coefficient of agreement for nominal scales (1960); unweighted, as scikit-learn's
/// `cohen_kappa_score`.
pub fn cohen_kappa<T: Eq + Hash>(a: &[T], b: &[T]) -> Option<f64> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let n = a.len() as f64;
    let num_equal = a.iter().zip(b).filter(|(x, y)| x == y).count();
    let (in_a, in_b) = (counts(a), counts(b));
    // Whole numbers: the order of the map cannot move the sum.
    let chance: u128 = in_a
        .iter()
        .map(|(label, count)| *count * in_b.get(label).copied().unwrap_or(0))
        .sum();
    let observed = num_equal as f64 / n;
    let expected = chance as f64 / (n * n);
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

fn counts<T: Eq + Hash>(labels: &[T]) -> HashMap<&T, u128> {
    let mut counts = HashMap::new();
    for label in labels {
        *counts.entry(label).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use grsap_core::Safety::{Safe, Unparsed, Unsafe};

    use super::*;

    #[test]
    fn it_knows_its_ends() {
        assert_eq!(cohen_kappa(&[1, 2, 3], &[1, 2, 3]), Some(1.0));
        assert_eq!(cohen_kappa(&[true, false], &[false, true]), Some(-1.0));
        // Independent by construction.
        let (a, b) = ([true, true, false, false], [true, false, true, false]);
        assert_eq!(cohen_kappa(&a, &b), Some(0.0));
        let (a, b) = ([Safe, Unsafe, Unparsed], [Safe, Unsafe, Safe]);
        assert!((cohen_kappa(&a, &b).unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_can_be_said_of_nothing() {
        assert_eq!(cohen_kappa::<bool>(&[], &[]), None);
        assert_eq!(cohen_kappa(&[true], &[true, false]), None);
        assert_eq!(cohen_kappa(&[true, true], &[true, true]), None);
        assert_eq!(cohen_kappa(&[true, true], &[false, false]), Some(0.0));
    }
}
