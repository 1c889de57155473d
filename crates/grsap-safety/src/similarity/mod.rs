//! How close two sets of texts are: MAUVE, the chain rule of KL divergences, nearest neighbours.

mod chain_rule;
mod eigen;
mod exchanges;
mod features;
mod k_means;
mod mauve;
mod mauve_config;
mod mersenne_twister;
mod neighbours;
mod pca;
mod product;

pub use chain_rule::{ChainRule, ExchangeFeatures, Split};
pub use exchanges::{Similarity, SimilarityConfig};
pub use features::Features;
pub use mauve::Mauve;
pub use mauve_config::MauveConfig;
pub use neighbours::Neighbours;
