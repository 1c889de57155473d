//! What is done with damaged and hostile model files: by the fuzzer, and by the test
//! `hostile_files`, which includes these modules and needs no nightly toolchain.

pub mod allocation;
pub mod gguf_writer;
pub mod seeds;
pub mod targets;
