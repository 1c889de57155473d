//! A decision for CI: may this adapter be published?

mod config;
mod decide;
mod report;
mod safety_gate;

pub use config::{GateConfig, GateError, GateRule, UnscoredPolicy};
pub use report::{GateCheck, GateDecision, GateReport};
pub use safety_gate::{GateSample, SafetyGate};
