mod assistant;
mod config;
mod query_extractor;
mod user;

pub use assistant::AssistantExtractor;
pub use config::ExtractorConfig;
pub use query_extractor::QueryExtractor;
pub(crate) use query_extractor::default_stops;
pub use user::UserExtractor;
