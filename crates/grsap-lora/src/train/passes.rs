use std::cmp::Reverse;

use super::error::TrainError;
use super::trainer_config::TrainerConfig;
use crate::example::ExampleName;

/// How the examples of a step are spread over forward and backward passes.
pub(super) fn passes(
    config: &TrainerConfig,
    batch: &[usize],
    num_tokens: impl Fn(usize) -> usize,
) -> Vec<Vec<usize>> {
    let Some(limit) = config.max_tokens_per_pass else {
        let chunks = batch.chunks(config.per_device_train_batch_size);
        return chunks.map(<[usize]>::to_vec).collect();
    };
    let mut examples = batch.to_vec();
    examples.sort_by_key(|&example| Reverse(num_tokens(example)));
    let mut passes: Vec<(usize, Vec<usize>)> = Vec::new();
    for example in examples {
        let tokens = num_tokens(example);
        match passes.iter_mut().find(|(sum, _)| sum + tokens <= limit) {
            Some((sum, pass)) => {
                *sum += tokens;
                pass.push(example);
            }
            None => passes.push((tokens, vec![example])),
        }
    }
    passes.into_iter().map(|(_, pass)| pass).collect()
}

/// Checks that every example fits into a pass.
pub(super) fn check_fit(
    config: &TrainerConfig,
    mut lengths: impl Iterator<Item = (ExampleName, usize)>,
) -> Result<(), TrainError> {
    let Some(limit) = config.max_tokens_per_pass else {
        return Ok(());
    };
    match lengths.find(|(_, tokens)| *tokens > limit) {
        Some((example, tokens)) => Err(TrainError::config(
            "max_tokens_per_pass",
            format!("is {limit}, but example {example} has {tokens} tokens"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_filled_longest_first() {
        let lengths = [3, 9, 4, 1, 6, 5];
        let batch = [0, 1, 2, 3, 4, 5];
        let of = |config: &TrainerConfig| passes(config, &batch, |i| lengths[i]);
        let mut config = TrainerConfig {
            per_device_train_batch_size: 4,
            ..TrainerConfig::default()
        };
        assert_eq!(of(&config), [vec![0, 1, 2, 3], vec![4, 5]]);
        config.max_tokens_per_pass = Some(10);
        assert_eq!(of(&config), [vec![1, 3], vec![4, 2], vec![5, 0]]);
        config.max_tokens_per_pass = Some(100);
        assert_eq!(of(&config), [vec![1, 4, 5, 2, 0, 3]]);
        let named = || {
            let name = |index| ExampleName {
                index,
                id: Some(format!("n{index}")),
            };
            let lengths = lengths.into_iter().enumerate();
            lengths.map(move |(index, tokens)| (name(index), tokens))
        };
        assert!(check_fit(&config, named()).is_ok());
        config.max_tokens_per_pass = Some(8);
        let error = check_fit(&config, named()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "max_tokens_per_pass: is 8, but example 1 (id n1) has 9 tokens"
        );
    }
}
