mod answers;
mod by_domain;
mod checkpoint;
mod error;
mod evaluate;
#[cfg(test)]
mod tests;

pub use by_domain::domain_reports;
pub use checkpoint::TrainingCheckpoint;
pub use error::EvaluationError;
pub use evaluate::{Evaluation, TaskQuestions};
