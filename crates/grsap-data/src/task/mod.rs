mod format;
mod gsm8k;
mod multiple_choice;
mod number;
mod sentiment;

pub use format::{TaskFormat, TaskRow};
pub use gsm8k::{Gsm8k, read_gsm8k};
pub use multiple_choice::MultipleChoice;
pub use sentiment::{Sentiment, SentimentRows, read_sentiment};
