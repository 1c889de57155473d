use rand::Rng;
use rand::seq::SliceRandom;

use crate::DataError;

/// Chooses rows of a pool.
pub trait Sampler<T> {
    /// `n` distinct positions of `pool`, in random order.
    ///
    /// # Errors
    ///
    /// [`DataError::TooSmall`] when the pool has fewer than `n` rows.
    fn sample(&self, pool: &[T], n: usize, rng: &mut dyn Rng) -> Result<Vec<usize>, DataError>;
}

/// Every row is as likely as any other; none is taken twice.
///
/// With the same random stream a smaller sample is the beginning of a larger one, so that runs with
/// different ratios see as many of the same rows as they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uniform;

impl<T> Sampler<T> for Uniform {
    fn sample(&self, pool: &[T], n: usize, rng: &mut dyn Rng) -> Result<Vec<usize>, DataError> {
        check(pool.len(), n)?;
        let mut order: Vec<usize> = (0..pool.len()).collect();
        order.shuffle(rng);
        order.truncate(n);
        Ok(order)
    }
}

/// Takes `int(hard_ratio * n)` hard rows and fills up with easy ones. Where one kind runs out, the
/// other makes up for it.
///
/// # Examples
///
/// ```
/// use grsap_data::{Sampler, Stratified};
///
/// // Rows 0 to 2 are hard: too few for half of ten.
/// let rows: Vec<usize> = (0..20).collect();
/// let stratified = Stratified::new(0.5, |row: &usize| *row < 3)?;
/// let chosen = stratified.sample(&rows, 10, &mut grsap_core::rng(1, "doc", &[]))?;
/// assert_eq!(chosen.iter().filter(|index| **index < 3).count(), 3);
/// assert_eq!(chosen.len(), 10);
/// # Ok::<(), grsap_data::DataError>(())
/// ```
///
/// # Source
///
/// GR-SAP, stage 4: `hard_ratio` 0.5.
#[derive(Debug, Clone, Copy)]
pub struct Stratified<F> {
    hard_ratio: f64,
    is_hard: F,
}

impl<F> Stratified<F> {
    /// A sampler that asks `is_hard` for the kind of a row.
    ///
    /// # Errors
    ///
    /// [`DataError::Config`] when `hard_ratio` is not in [0, 1].
    pub fn new(hard_ratio: f64, is_hard: F) -> Result<Self, DataError> {
        if !(0.0..=1.0).contains(&hard_ratio) {
            return Err(DataError::Config {
                field: "hard_ratio",
                expected: "in [0, 1]",
                got: hard_ratio.to_string(),
            });
        }
        Ok(Self {
            hard_ratio,
            is_hard,
        })
    }
}

impl<T, F: Fn(&T) -> bool> Sampler<T> for Stratified<F> {
    fn sample(&self, pool: &[T], n: usize, rng: &mut dyn Rng) -> Result<Vec<usize>, DataError> {
        check(pool.len(), n)?;
        let mut hard = Vec::new();
        let mut easy = Vec::new();
        for (index, row) in pool.iter().enumerate() {
            if (self.is_hard)(row) {
                hard.push(index);
            } else {
                easy.push(index);
            }
        }
        hard.shuffle(rng);
        easy.shuffle(rng);
        let wanted = (self.hard_ratio * n as f64) as usize;
        let num_hard = wanted.min(hard.len()).max(n.saturating_sub(easy.len()));
        hard.truncate(num_hard);
        easy.truncate(n - hard.len());
        hard.append(&mut easy);
        hard.shuffle(rng);
        Ok(hard)
    }
}

fn check(available: usize, needed: usize) -> Result<(), DataError> {
    if available < needed {
        return Err(DataError::TooSmall {
            what: "pool",
            needed,
            available,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn num_hard(pool: &[bool], n: usize, ratio: f64) -> usize {
        let sampler = Stratified::new(ratio, |hard: &bool| *hard).unwrap();
        let chosen = sampler
            .sample(pool, n, &mut grsap_core::rng(3, "t", &[]))
            .unwrap();
        assert_eq!(chosen.len(), n);
        assert_eq!(
            chosen.iter().collect::<HashSet<_>>().len(),
            n,
            "rows repeat"
        );
        chosen.iter().filter(|index| pool[**index]).count()
    }

    #[test]
    fn strata_make_up_for_each_other() {
        let mut pool = vec![true; 20];
        pool.resize(60, false);
        assert_eq!(num_hard(&pool, 20, 0.5), 10);
        assert_eq!(num_hard(&pool, 50, 0.5), 20, "too few hard rows");
        assert_eq!(num_hard(&pool, 55, 0.0), 15, "too few easy rows");
        assert_eq!(num_hard(&pool, 60, 0.5), 20, "all of them");
        assert_eq!(num_hard(&pool, 5, 1.0), 5);
        assert_eq!(num_hard(&pool, 0, 0.5), 0);
    }

    #[test]
    fn too_small_a_pool_names_both_numbers() {
        let mut rng = grsap_core::rng(0, "t", &[]);
        let sampler = Stratified::new(0.5, |_: &u8| true).unwrap();
        for error in [
            sampler.sample(&[1, 2], 3, &mut rng).unwrap_err(),
            Uniform.sample(&[1, 2], 3, &mut rng).unwrap_err(),
        ] {
            assert_eq!(
                error.to_string(),
                "3 pool rows are needed, but there are only 2"
            );
        }
        for ratio in [-0.5, 1.5, f64::NAN] {
            assert!(Stratified::new(ratio, |_: &u8| true).is_err());
        }
    }

    #[test]
    fn uniform_samples_are_nested_and_seeded() {
        let pool: Vec<u32> = (0..50).collect();
        let draw = |n, seed| {
            Uniform
                .sample(&pool, n, &mut grsap_core::rng(seed, "t", &[]))
                .unwrap()
        };
        assert_eq!(draw(50, 1)[..10], draw(10, 1));
        assert_ne!(draw(50, 1), draw(50, 2));
        assert_eq!(draw(50, 1).iter().collect::<HashSet<_>>().len(), 50);
    }
}
