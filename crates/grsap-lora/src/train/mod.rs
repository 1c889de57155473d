mod adamw;
mod callback;
mod checkpoint;
mod clip;
mod data_order;
mod error;
mod gradients;
mod jsonl_metrics;
mod lr_schedule;
mod report;
mod run_identity;
mod show_progress;
#[cfg(test)]
mod tests;
mod trainer;
mod trainer_config;

pub use adamw::{AdamW, AdamWConfig};
pub use callback::{BoxError, Callback};
pub use checkpoint::{CheckpointError, latest_checkpoint};
pub use clip::clip_grad_norm;
pub use error::TrainError;
pub use gradients::{LossGradients, LossWeighting, loss_gradients};
pub use jsonl_metrics::JsonlMetrics;
pub use lr_schedule::{Constant, CosineWithMinLr, Linear, LrSchedule};
pub use report::{StepReport, TrainReport};
pub use show_progress::ShowProgress;
pub use trainer::{Resume, Trainer};
pub use trainer_config::{LrSchedulerType, TrainerConfig};
