//! GR-SAP in Rust: fine-tune a chat model without losing its safety alignment.
//!
//! Fine-tuning an aligned chat model on a harmless task makes it answer harmful requests again.
//! GR-SAP (arXiv 2603.10243) lets the model write a stand-in for its own alignment data, filters
//! it, and mixes it into the fine-tuning set. This crate re-exports the parts:
//!
//! | module | what it is for |
//! |---|---|
//! | [`core`] | chats, prompts, sampling parameters, the traits where the parts meet |
//! | [`model`] | models from files, batched generation, sentence encoders |
//! | [`synth`] | generative replay: extraction, filters, revision |
//! | [`data`] | records, task formats, sampling, mixing |
//! | [`lora`] | adapters, training, PEFT files |
//! | [`safety`] | judges, metrics with intervals, reports |
//! | [`kernels`] | the fused tensor operations underneath |
//!
//! `crates/grsap-replay/examples/gr_sap.rs` is the whole experiment, readable in one sitting.

pub use grsap_core as core;
pub use grsap_data as data;
pub use grsap_kernels as kernels;
pub use grsap_lora as lora;
pub use grsap_model as model;
pub use grsap_safety as safety;
pub use grsap_synth as synth;

#[cfg(feature = "bars")]
mod bars;
pub mod prelude;

#[cfg(feature = "bars")]
pub use bars::Bars;
