//! Models behind servers that speak OpenAI's completions protocol.

mod abort;
mod answer;
mod api_key;
mod client;
mod collector;
mod config;
mod error;
mod events;
mod gate;
mod generator;
mod perplexity;
mod rate_limits;
mod request;
mod retry;
mod workers;

pub use api_key::ApiKey;
pub use config::{Dialect, OpenAiConfig, PromptForm, PromptLogprobs};
pub use error::OpenAiError;
pub use generator::OpenAiGenerator;
pub use retry::RetryConfig;
