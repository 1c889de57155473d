use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{DataError, Dataset, MixPlan, Record, Sampler, Uniform};

/// Where a row of a [`Mixture`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The task being learnt.
    Task,
    /// The alignment being kept.
    Replay,
}

/// Task rows and replay rows in one shuffled training set.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    rows: Vec<(Origin, Record)>,
}

impl Mixture {
    /// All of `task` and all of `replay`, shuffled.
    pub fn new(task: Vec<Record>, replay: Vec<Record>, seed: u64) -> Self {
        let mut rows: Vec<_> = task
            .into_iter()
            .map(|record| (Origin::Task, record))
            .chain(replay.into_iter().map(|record| (Origin::Replay, record)))
            .collect();
        rows.shuffle(&mut grsap_core::rng(seed, "mix.shuffle", &[]));
        Self { rows }
    }

    /// Draws what `plan` asks for and shuffles it. Task rows are drawn uniformly, and by the same
    /// seed the same ones whatever the replay rows are.
    ///
    /// # Errors
    ///
    /// [`DataError::TooSmall`] when there are fewer task or replay rows than planned; it says which.
    pub fn draw<T, R>(
        plan: MixPlan,
        task: &[T],
        replay: &[R],
        sampler: &dyn Sampler<R>,
        seed: u64,
    ) -> Result<Self, DataError>
    where
        T: Clone + Into<Record>,
        R: Clone + Into<Record>,
    {
        let task = take(task, plan.num_task, &Uniform, seed, "mix.task")
            .map_err(|error| rename(error, "task"))?;
        let replay = take(replay, plan.num_replay, sampler, seed, "mix.replay")
            .map_err(|error| rename(error, "replay"))?;
        Ok(Self::new(task, replay, seed))
    }

    /// Rows with their origins, in training order.
    pub fn rows(&self) -> &[(Origin, Record)] {
        &self.rows
    }

    /// The records in training order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.rows.iter().map(|(_, record)| record)
    }

    /// Rows of `origin`.
    pub fn count(&self, origin: Origin) -> usize {
        self.rows.iter().filter(|(from, _)| *from == origin).count()
    }

    /// The share of the rows that are replay, 0 for an empty mixture.
    pub fn replay_share(&self) -> f64 {
        if self.rows.is_empty() {
            return 0.0;
        }
        self.count(Origin::Replay) as f64 / self.rows.len() as f64
    }

    /// Counts target tokens by origin. `count` says how many tokens of a record enter the loss.
    ///
    /// # Errors
    ///
    /// The first error of `count`.
    ///
    /// # Examples
    ///
    /// ```
    /// use grsap_data::{Mixture, Record};
    ///
    /// let mixture = Mixture::new(
    ///     vec![Record::exchange("1 + 1?", "2")],
    ///     vec![Record::exchange("a request", "I will not do that")],
    ///     0,
    /// );
    /// let words = |record: &Record| -> Result<usize, std::convert::Infallible> {
    ///     Ok(record.response().unwrap_or("").split(' ').count())
    /// };
    /// let tokens = mixture.target_tokens(words)?;
    /// assert_eq!((tokens.task, tokens.replay), (1, 5));
    /// assert_eq!(mixture.replay_share(), 0.5);
    /// # Ok::<(), std::convert::Infallible>(())
    /// ```
    pub fn target_tokens<E>(
        &self,
        mut count: impl FnMut(&Record) -> Result<usize, E>,
    ) -> Result<TargetTokens, E> {
        let mut tokens = TargetTokens { task: 0, replay: 0 };
        for (origin, record) in &self.rows {
            let num = count(record)?;
            match origin {
                Origin::Task => tokens.task += num,
                Origin::Replay => tokens.replay += num,
            }
        }
        Ok(tokens)
    }
}

impl Dataset for Mixture {
    type Item = Record;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize) -> Result<Record, DataError> {
        Dataset::get(&self.rows, index).map(|(_, record)| record)
    }
}

/// Target tokens of a [`Mixture`] by origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTokens {
    /// In task rows.
    pub task: usize,
    /// In replay rows.
    pub replay: usize,
}

impl TargetTokens {
    /// The share of the target tokens that are in replay rows, 0 where there are none at all.
    pub fn replay_share(self) -> f64 {
        let all = self.task + self.replay;
        if all == 0 {
            return 0.0;
        }
        self.replay as f64 / all as f64
    }
}

fn take<T: Clone + Into<Record>>(
    pool: &[T],
    n: usize,
    sampler: &dyn Sampler<T>,
    seed: u64,
    stream: &str,
) -> Result<Vec<Record>, DataError> {
    sampler
        .sample(pool, n, &mut grsap_core::rng(seed, stream, &[]))?
        .into_iter()
        .map(|index| Dataset::get(pool, index).map(Into::into))
        .collect()
}

fn rename(error: DataError, what: &'static str) -> DataError {
    match error {
        DataError::TooSmall {
            needed, available, ..
        } => DataError::TooSmall {
            what,
            needed,
            available,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SizeControl;
    use std::collections::HashSet;

    fn records(name: &str, n: usize) -> Vec<Record> {
        (0..n)
            .map(|i| Record::exchange(format!("{name} {i}"), "ok"))
            .collect()
    }

    fn task_rows(mixture: &Mixture) -> HashSet<String> {
        mixture
            .rows()
            .iter()
            .filter(|(origin, _)| *origin == Origin::Task)
            .map(|(_, record)| record.messages[0].content.clone())
            .collect()
    }

    #[test]
    fn same_seed_same_order() {
        let (task, replay) = (records("t", 50), records("r", 20));
        let plan = MixPlan::new(40, 0.25, SizeControl::Total).unwrap();
        let draw = |seed| Mixture::draw(plan, &task, &replay, &Uniform, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1).count(Origin::Replay), 10);
        assert_eq!(draw(1).replay_share(), 0.25);
        let first: Vec<_> = draw(1).rows().iter().take(30).map(|(o, _)| *o).collect();
        assert!(
            first.contains(&Origin::Replay),
            "replay is spread out, not at the end"
        );
    }

    #[test]
    fn arms_share_their_task_rows() {
        let task = records("t", 50);
        let plan = |ratio| MixPlan::new(40, ratio, SizeControl::Total).unwrap();
        let none = Mixture::draw(plan(0.0), &task, &records("r", 0), &Uniform, 5).unwrap();
        let some = Mixture::draw(plan(0.2), &task, &records("r", 9), &Uniform, 5).unwrap();
        let other = Mixture::draw(plan(0.2), &task, &records("o", 30), &Uniform, 5).unwrap();
        assert_eq!(task_rows(&some), task_rows(&other));
        assert!(task_rows(&some).is_subset(&task_rows(&none)));
    }

    #[test]
    fn too_small_a_buffer_is_named() {
        let plan = MixPlan::new(100, 0.1, SizeControl::Total).unwrap();
        let error =
            Mixture::draw(plan, &records("t", 90), &records("r", 9), &Uniform, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10 replay rows are needed, but there are only 9"
        );
        let error =
            Mixture::draw(plan, &records("t", 89), &records("r", 10), &Uniform, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "90 task rows are needed, but there are only 89"
        );
    }

    #[test]
    fn an_empty_mixture_has_no_share() {
        let mixture = Mixture::new(vec![], vec![], 0);
        assert_eq!(mixture.replay_share(), 0.0);
        let tokens = mixture.target_tokens(|_| Ok::<_, DataError>(1)).unwrap();
        assert_eq!(tokens.replay_share(), 0.0);
        assert!(mixture.is_empty());
        assert!(mixture.get(0).is_err());
    }

    #[test]
    fn a_failing_count_is_passed_on() {
        let mixture = Mixture::new(records("t", 2), vec![], 0);
        assert_eq!(
            mixture.target_tokens(|_| Err("no tokenizer")),
            Err("no tokenizer")
        );
    }
}
