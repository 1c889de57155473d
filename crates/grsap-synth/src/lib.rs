//! Generative replay: extraction, filtering and revision of synthetic alignment data.
