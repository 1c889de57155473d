use rand::seq::SliceRandom;

use crate::DataError;

/// Parts rows at random into those to train on and `num_held_out` to test on. Each part keeps the
/// order of the rows.
///
/// # Errors
///
/// [`DataError::TooSmall`] when nothing would be left to train on.
///
/// # Examples
///
/// ```
/// let (train, held_out) = grsap_data::split_held_out((0..10).collect(), 3, 7)?;
/// assert_eq!((train.len(), held_out.len()), (7, 3));
/// # Ok::<(), grsap_data::DataError>(())
/// ```
pub fn split_held_out<T>(
    rows: Vec<T>,
    num_held_out: usize,
    seed: u64,
) -> Result<(Vec<T>, Vec<T>), DataError> {
    if num_held_out >= rows.len() {
        return Err(DataError::TooSmall {
            what: "training and held-out",
            needed: num_held_out.saturating_add(1),
            available: rows.len(),
        });
    }
    let mut is_held_out = vec![false; rows.len()];
    is_held_out
        .iter_mut()
        .take(num_held_out)
        .for_each(|flag| *flag = true);
    is_held_out.shuffle(&mut grsap_core::rng(seed, "split.held_out", &[]));
    let mut parts = (Vec::new(), Vec::new());
    for (row, held_out) in rows.into_iter().zip(is_held_out) {
        if held_out {
            parts.1.push(row);
        } else {
            parts.0.push(row);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_seeded_and_complete() {
        let rows: Vec<u32> = (0..100).collect();
        let (train, test) = split_held_out(rows.clone(), 30, 1).unwrap();
        assert_eq!((train.len(), test.len()), (70, 30));
        let mut all = [train.clone(), test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, rows);
        assert_eq!(split_held_out(rows.clone(), 30, 1).unwrap().1, test);
        assert_ne!(split_held_out(rows, 30, 2).unwrap().1, test);
    }

    #[test]
    fn something_must_be_left() {
        let error = split_held_out(vec![1, 2], 2, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 training and held-out rows are needed, but there are only 2"
        );
        assert!(split_held_out(Vec::<u8>::new(), 0, 0).is_err());
    }
}
