//! The Jinja dialect of Hugging Face chat templates.

mod environment;
mod generation;
mod json;
mod python;
mod strftime;

pub(crate) use environment::{Raised, environment};
pub(crate) use generation::{END_MARK, START_MARK, has_generation_tags};
pub(crate) use python::is_space;
