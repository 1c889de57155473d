use std::cmp::Reverse;

use rand::seq::SliceRandom;

use super::trainer_config::TrainerConfig;

/// Steps whose examples are sorted together by length, as in transformers' sampler.
const STEPS_SORTED: usize = 50;

/// Which examples each step takes: a function of the step, so that resuming needs no state.
#[derive(Debug)]
pub(super) struct DataOrder {
    /// Tokens of each example.
    lengths: Vec<usize>,
    batch_size: usize,
    shuffle: bool,
    group_by_length: bool,
    seed: u64,
    /// The epoch that `order` belongs to.
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl DataOrder {
    pub(super) fn new(config: &TrainerConfig, lengths: Vec<usize>) -> Self {
        Self {
            lengths,
            batch_size: config.batch_size(),
            shuffle: config.shuffle,
            group_by_length: config.group_by_length,
            seed: config.seed,
            epoch: None,
            order: Vec::new(),
        }
    }

    /// The examples of a step; no step crosses the end of an epoch.
    pub(super) fn step(&mut self, step: usize) -> &[usize] {
        let steps_per_epoch = self.lengths.len().div_ceil(self.batch_size).max(1);
        let epoch = step / steps_per_epoch;
        if self.epoch != Some(epoch) {
            self.order = self.of_epoch(epoch);
            self.epoch = Some(epoch);
        }
        let mut batches = self.order.chunks(self.batch_size);
        batches.nth(step % steps_per_epoch).unwrap_or_default()
    }

    fn of_epoch(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        let part = (epoch as u64).to_le_bytes();
        let mut rng = grsap_core::rng(self.seed, "train.shuffle", &[&part]);
        if self.shuffle {
            order.shuffle(&mut rng);
        }
        if self.group_by_length {
            let length = |&index: &usize| self.lengths.get(index).copied();
            for stretch in order.chunks_mut(STEPS_SORTED.saturating_mul(self.batch_size)) {
                stretch.sort_by_key(|index| Reverse(length(index)));
            }
            // The last batch stays last, as it may have fewer.
            let mut batches: Vec<&[usize]> = order.chunks(self.batch_size).collect();
            let last = batches.pop();
            if self.shuffle {
                batches.shuffle(&mut rng);
            }
            batches.extend(last);
            order = batches.concat();
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_each_example_once_in_an_order_of_its_own() {
        let config = TrainerConfig {
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 2,
            ..TrainerConfig::default()
        };
        let mut order = DataOrder::new(&config, vec![1; 10]);
        let mut epochs = Vec::new();
        for epoch in 0..3 {
            let mut seen = Vec::new();
            for step in 0..3 {
                seen.extend_from_slice(order.step(epoch * 3 + step));
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
            epochs.push(seen);
        }
        assert_ne!(epochs[0], epochs[1]);
        // Jumping to a step gives what walking there gives.
        let fresh = DataOrder::new(&config, vec![1; 10]).step(4).to_vec();
        assert_eq!(fresh, epochs[1][4..8]);
    }

    #[test]
    fn without_shuffling_the_order_is_that_of_the_examples() {
        let config = TrainerConfig {
            per_device_train_batch_size: 3,
            shuffle: false,
            ..TrainerConfig::default()
        };
        let mut order = DataOrder::new(&config, vec![1; 4]);
        assert_eq!(order.step(0), [0, 1, 2]);
        assert_eq!(order.step(1), [3]);
        assert_eq!(order.step(2), [0, 1, 2]);
    }

    #[test]
    fn grouped_by_length_a_batch_has_like_lengths_and_the_order_is_mixed() {
        let config = TrainerConfig {
            per_device_train_batch_size: 4,
            group_by_length: true,
            ..TrainerConfig::default()
        };
        let lengths: Vec<usize> = (0..38).map(|i| i * 7 % 38).collect();
        let mut order = DataOrder::new(&config, lengths.clone());
        let mut firsts = Vec::new();
        let mut seen = Vec::new();
        for step in 0..10 {
            let batch = order.step(step).to_vec();
            assert_eq!(batch.len(), if step == 9 { 2 } else { 4 });
            let of_batch: Vec<usize> = batch.iter().map(|&i| lengths[i]).collect();
            // Fewer examples than fifty steps take: all are sorted together.
            let longest = of_batch[0];
            let expected: Vec<usize> = (0..batch.len()).map(|i| longest - i).collect();
            assert_eq!(of_batch, expected);
            firsts.push(longest);
            seen.extend(batch);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..38).collect::<Vec<_>>());
        assert!(!firsts.is_sorted_by(|a, b| a > b), "{firsts:?}");
        let again = DataOrder::new(&config, lengths).step(3).to_vec();
        assert_eq!(again, order.step(3));
    }
}
