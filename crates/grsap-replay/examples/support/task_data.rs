//! The rows that the model is fine-tuned on.

use anyhow::Result;
use grsap_replay::prelude::*;

use super::assets::{Assets, WordProblems};
use super::{Args, Scale, Task};

/// The rows that the model is fine-tuned on, and held-out ones.
pub(crate) struct TaskData {
    pub(crate) format: Box<dyn TaskFormat>,
    pub(crate) train: Vec<Record>,
    pub(crate) held_out: Vec<TaskRow>,
}

impl TaskData {
    pub(crate) fn load(args: &Args, assets: &Assets, scale: &Scale) -> Result<Self> {
        let format: Box<dyn TaskFormat> = match args.task {
            Task::WordProblems => Box::new(Gsm8k::default()),
            Task::Sentiment => Box::new(Sentiment::default()),
        };
        let (train, held_out) = match (args.task, &args.task_data) {
            (Task::WordProblems, None) => (
                read_gsm8k(assets.word_problems(WordProblems::Train)?)?,
                read_gsm8k(assets.word_problems(WordProblems::Test)?)?,
            ),
            (Task::WordProblems, Some(file)) => {
                split_held_out(read_gsm8k(file)?, scale.num_task, 0)?
            }
            (Task::Sentiment, file) => {
                let file = file.clone().map_or_else(|| assets.movie_reviews(), Ok)?;
                split_held_out(read_sentiment(file, 0.5)?.rows, scale.num_task, 0)?
            }
        };
        Ok(Self {
            train: train
                .iter()
                .filter(|row| row.question.len() + row.answer.len() <= scale.max_task_chars)
                .map(|row| format.record(row))
                .collect(),
            held_out: held_out.into_iter().take(scale.num_task).collect(),
            format,
        })
    }
}
