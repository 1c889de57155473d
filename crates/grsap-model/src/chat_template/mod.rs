//! From messages to the text that a model was trained on.

mod error;
mod template;

#[cfg(test)]
mod tests;

pub use error::TemplateError;
pub use template::ChatTemplate;
pub(crate) use template::token_text;
