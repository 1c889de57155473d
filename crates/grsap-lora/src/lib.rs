//! LoRA adapters, assistant-only fine-tuning, checkpoints and PEFT files on Burn.
//!
//! An adapter is a walk over the named projections of a decoder: [`attach`] puts fresh factors on,
//! [`save_adapter`] and [`load_adapter`] speak PEFT's files, [`merge`] adds the product to the
//! weights. [`SftEncoder`] turns chats into [`SftExample`]s whose loss is over what the assistant
//! writes, and [`Trainer`] trains on them: AdamW, a [schedule](LrSchedule), accumulation, clipping,
//! checkpoints that continue bit for bit. What is trained is a [`Trainable`]: the adapters of a
//! [`LoraConfig`], or all weights with [`FullFineTuning`]. What else should happen during a run is a
//! [`Callback`].
//!
//! ```
//! use grsap_lora::{LrSchedule, TrainerConfig};
//!
//! let config = TrainerConfig { num_train_epochs: 2, ..TrainerConfig::default() };
//! assert_eq!(config.num_steps(400), 100);
//! let schedule = config.schedule(100);
//! assert_eq!((schedule.lr(0), schedule.lr(10)), (0.0, 2e-4));
//! ```

mod adapter;
mod example;
#[cfg(test)]
mod tiny_decoder;
mod train;

pub use adapter::{
    AdapterDtype, AdapterError, AdapterFactors, LoraConfig, TargetModules, attach, detach,
    load_adapter, merge, save_adapter,
};
pub use example::{ExampleName, LossScope, SftConfig, SftEncoder, SftError, SftExample};
pub use train::{
    AdamW, AdamWConfig, BestCheckpoint, BoxError, Callback, CheckpointError, Constant,
    CosineWithMinLr, FullFineTuning, HeldOutLoss, JsonlMetrics, KeepBest, Linear, LossConfig,
    LossGradients, LossWeighting, LrSchedule, LrSchedulerType, Resume, ShowProgress, StepReport,
    TensorBoard, TrainError, TrainReport, Trainable, Trainer, TrainerConfig, clip_coefficient,
    grad_norm, latest_checkpoint, loss_gradients,
};
