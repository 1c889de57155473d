//! The vocabulary of grsap-replay: chats, prompts, sampling parameters, safety domains, and the
//! capability traits that the other crates meet at.
//!
//! There are no tensors and no network here, so a pipeline stage written against this
//! crate builds in seconds and runs with any model: a local one (`grsap-model`), a server, or the
//! scripted stand-ins of [`mock`] (feature `mock`).
//!
//! ```
//! use grsap_core::{Message, Prompt, SamplingConfig, SamplingParams};
//!
//! let prompt = Prompt::chat([Message::user("Name a prime number.")]);
//! let params = SamplingParams::new(SamplingConfig { max_new_tokens: 16, ..Default::default() })?;
//! assert_eq!(params.max_new_tokens, 16);
//! assert_eq!(prompt.to_string(), "user: Name a prime number.");
//! # Ok::<(), grsap_core::SamplingError>(())
//! ```

mod domain;
mod embedder;
mod generation;
mod generator;
mod guard;
mod message;
mod perplexity;
mod progress;
mod prompt;
mod sampling;
mod seed;
mod write_atomic;

#[cfg(feature = "mock")]
pub mod mock;

pub use domain::SafetyDomain;
pub use embedder::{Embedder, cosine};
pub use generation::{Completion, FinishReason, Generation};
pub use generator::{Generator, ModelError};
pub use guard::{Exchange, Guard, GuardError, Safety, Verdict};
pub use message::{Message, Role};
pub use perplexity::Perplexity;
pub use progress::Progress;
pub use prompt::{Prompt, Turn};
pub use sampling::{SamplingConfig, SamplingError, SamplingParams};
pub use seed::{digest_hex, rng};
pub use write_atomic::{folder_of, write_atomic};
