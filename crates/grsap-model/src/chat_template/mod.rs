//! From messages to the text that a model was trained on.

mod error;
mod files;
mod template;

#[cfg(test)]
mod tests;

pub use error::TemplateError;
pub use template::ChatTemplate;
