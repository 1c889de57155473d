//! Records, task formats, dataset readers, sampling and mixing for safety-preserving fine-tuning.
