//! Models from the Hugging Face Hub, in the cache that its own tools use.

mod cache;
mod client;
mod error;
mod fetch;
mod listing;
mod token;

pub use error::HubError;
pub use fetch::Hub;
pub use token::HubToken;
