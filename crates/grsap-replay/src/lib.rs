//! GR-SAP in Rust: fine-tune a chat model without losing its safety alignment.
