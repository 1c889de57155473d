//! Records, task formats, dataset readers, sampling and mixing for safety-preserving fine-tuning.
//!
//! There is no model here: a [`Record`] is a chat in the `messages` form of Hugging Face data sets,
//! a [`TaskFormat`] turns a row of a task into a record and reads a model's answer to it, and a
//! [`Mixture`] is the training set that GR-SAP makes of task rows and replay rows. Public safety sets
//! are read by [`read_safety_set`]; Parquet files need the feature `parquet`.
//!
//! ```
//! use grsap_data::{Dataset, Gsm8k, MixPlan, Mixture, Record, SizeControl, TaskFormat, TaskRow, Uniform};
//!
//! let gsm8k = Gsm8k::default();
//! let task: Vec<Record> = (0..20)
//!     .map(|i| gsm8k.record(&TaskRow::new(format!("What is {i} + 1?"), format!("#### {}", i + 1))))
//!     .collect();
//! let replay: Vec<Record> = (0..5)
//!     .map(|i| Record::exchange(format!("request {i}"), "I will not help with that."))
//!     .collect();
//!
//! let plan = MixPlan::new(20, 0.1, SizeControl::Total)?;
//! let mixture = Mixture::draw(plan, &task, &replay, &Uniform, 7)?;
//! assert_eq!((plan.num_task, plan.num_replay), (18, 2));
//! assert_eq!(mixture.len(), 20);
//! assert_eq!(mixture.replay_share(), 0.1);
//! # Ok::<(), grsap_data::DataError>(())
//! ```

mod dataset;
mod difficulty;
mod error;
mod jsonl;
mod mix_plan;
mod mixture;
mod record;
mod safety_set;
mod sampler;
mod split;
mod table;
mod task;

pub use dataset::Dataset;
pub use difficulty::Difficulty;
pub use error::DataError;
pub use jsonl::{read_jsonl, read_records, write_atomic, write_jsonl};
pub use mix_plan::{MixPlan, SizeControl};
pub use mixture::{Mixture, Origin, TargetTokens};
pub use record::{Record, RecordError};
pub use safety_set::{SafetyRow, SafetyRows, SafetySet, Tulu3Rows, read_safety_set, read_tulu3};
pub use sampler::{Sampler, Stratified, Uniform};
pub use split::split_held_out;
pub use task::{
    Alpaca, ChoiceTask, Gsm8k, Gsm8kExtraction, Math, MultipleChoice, Sentiment, SentimentRows,
    TaskFormat, TaskRow, last_boxed, math_answers_equal, normalise_math_answer, read_alpaca,
    read_gsm8k, read_hella_swag, read_math, read_med_qa, read_sentiment, read_sst2,
    read_wino_grande,
};
