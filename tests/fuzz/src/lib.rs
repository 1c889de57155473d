//! What is done with damaged and hostile model files: by the fuzzer, and by the test
//! `hostile_files`, which includes these modules and needs no nightly toolchain.

pub mod allocation;
#[allow(dead_code)] // a part of it is used
#[path = "../../../crates/grsap-model/src/gguf/builder.rs"]
mod builder;
pub mod seeds;
pub mod targets;
