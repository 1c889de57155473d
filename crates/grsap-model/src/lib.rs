//! Chat models, sentence encoders and batched generation on Burn, from GGUF and safetensors files.
