use grsap_core::cosine;

use crate::MetricError;

/// Groups near-duplicates: one cluster id for each row of `embeddings`.
///
/// Greedy and in order: a row joins the cluster of the first leader (the first row of a cluster)
/// whose cosine with it is above `threshold`, or leads a new one. Ids count up from 0.
///
/// # Shapes
///
/// `embeddings` is `[rows, dim]`, row-major, with rows of unit length, as
/// [`Embedder::embed`](grsap_core::Embedder::embed) returns them.
///
/// # Errors
///
/// [`MetricError`] if `dim` is 0 or does not divide the length, or `threshold` is not a number.
///
/// # Examples
///
/// ```
/// let rows = [1.0, 0.0, 0.0, 1.0, 0.98, 0.199];
/// assert_eq!(grsap_safety::cluster_by_cosine(&rows, 2, 0.9)?, [0, 1, 0]);
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
pub fn cluster_by_cosine(
    embeddings: &[f32],
    dim: usize,
    threshold: f32,
) -> Result<Vec<usize>, MetricError> {
    if dim == 0 || !embeddings.len().is_multiple_of(dim) {
        return Err(MetricError::Config {
            field: "dim",
            expected: "a divisor of the number of values",
            got: format!("{dim} for {} values", embeddings.len()),
        });
    }
    if threshold.is_nan() {
        return Err(MetricError::Config {
            field: "threshold",
            expected: "a number",
            got: threshold.to_string(),
        });
    }
    let mut leaders: Vec<&[f32]> = Vec::new();
    Ok(embeddings
        .chunks_exact(dim)
        .map(|row| {
            leaders
                .iter()
                .position(|leader| cosine(leader, row) > threshold)
                .unwrap_or_else(|| {
                    leaders.push(row);
                    leaders.len() - 1
                })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use grsap_core::Embedder;
    use grsap_core::mock::MockEmbedder;

    use super::*;

    #[test]
    fn near_duplicates_share_an_id() {
        let texts = [
            "bake a loaf of bread",
            "fly a kite",
            "bake a loaf of bread now",
            "fly a kite",
        ];
        let embedder = MockEmbedder::new(256);
        let rows = embedder.embed(&texts).unwrap();
        assert_eq!(cluster_by_cosine(&rows, 256, 0.85).unwrap(), [0, 1, 0, 1]);
        assert_eq!(cluster_by_cosine(&rows, 256, 1.5).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn bad_shapes_are_errors() {
        assert!(cluster_by_cosine(&[1.0, 0.0, 1.0], 2, 0.5).is_err());
        assert!(cluster_by_cosine(&[], 0, 0.5).is_err());
        assert!(cluster_by_cosine(&[1.0], 1, f32::NAN).is_err());
        assert!(cluster_by_cosine(&[], 3, 0.5).unwrap().is_empty());
    }
}
