mod alpaca;
mod format;
mod gsm8k;
mod gsm8k_extraction;
mod math;
mod math_answer;
mod multiple_choice;
mod number;
mod sentiment;

pub use alpaca::Alpaca;
pub use format::{TaskFormat, TaskRow};
pub use gsm8k::{Gsm8k, read_gsm8k};
pub use gsm8k_extraction::Gsm8kExtraction;
pub use math::Math;
pub use math_answer::{last_boxed, math_answers_equal, normalise_math_answer};
pub use multiple_choice::{ChoiceTask, MultipleChoice};
pub use sentiment::{Sentiment, SentimentRows, read_sentiment};
