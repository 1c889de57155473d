mod arm;
mod experiment;
mod markdown;
mod ordered;
mod svg;
mod table;

pub use arm::{ArmReport, PairedTest, StageReport, SynthesisReport};
pub use experiment::{Report, ReportError};
