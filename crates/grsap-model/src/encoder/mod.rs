//! Sentence encoders.

mod bert;
mod sentence_encoder;

pub use sentence_encoder::SentenceEncoder;
