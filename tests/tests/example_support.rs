//! The unit tests of what the examples share, which stand beside it: examples have no test
//! harness.

#![allow(dead_code)] // what the examples use

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;
#[path = "../../crates/grsap-replay/examples/support/lab_data.rs"]
mod lab_data;
