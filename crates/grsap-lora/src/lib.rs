//! LoRA adapters, assistant-only fine-tuning, checkpoints and PEFT files on Burn.
