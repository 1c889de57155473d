use rand::seq::SliceRandom;

use super::trainer_config::TrainerConfig;

/// Which examples each step takes: a function of the step, so that resuming needs no state.
#[derive(Debug)]
pub(super) struct DataOrder {
    num_examples: usize,
    batch_size: usize,
    shuffle: bool,
    seed: u64,
    /// The epoch that `order` belongs to.
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl DataOrder {
    pub(super) fn new(config: &TrainerConfig, num_examples: usize) -> Self {
        Self {
            num_examples,
            batch_size: config.batch_size(),
            shuffle: config.shuffle,
            seed: config.seed,
            epoch: None,
            order: Vec::new(),
        }
    }

    /// The examples of a step; no step crosses the end of an epoch.
    pub(super) fn step(&mut self, step: usize) -> &[usize] {
        let steps_per_epoch = self.num_examples.div_ceil(self.batch_size).max(1);
        let epoch = step / steps_per_epoch;
        if self.epoch != Some(epoch) {
            self.order = (0..self.num_examples).collect();
            if self.shuffle {
                let part = (epoch as u64).to_le_bytes();
                let mut rng = grsap_core::rng(self.seed, "train.shuffle", &[&part]);
                self.order.shuffle(&mut rng);
            }
            self.epoch = Some(epoch);
        }
        let mut batches = self.order.chunks(self.batch_size);
        batches.nth(step % steps_per_epoch).unwrap_or_default()
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
        let mut order = DataOrder::new(&config, 10);
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
        let fresh = DataOrder::new(&config, 10).step(4).to_vec();
        assert_eq!(fresh, epochs[1][4..8]);
    }

    #[test]
    fn without_shuffling_the_order_is_that_of_the_examples() {
        let config = TrainerConfig {
            per_device_train_batch_size: 3,
            shuffle: false,
            ..TrainerConfig::default()
        };
        let mut order = DataOrder::new(&config, 4);
        assert_eq!(order.step(0), [0, 1, 2]);
        assert_eq!(order.step(1), [3]);
        assert_eq!(order.step(2), [0, 1, 2]);
    }
}
