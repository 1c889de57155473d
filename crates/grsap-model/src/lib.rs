//! Chat models and sentence encoders on Burn, from the files that people have: GGUF, or a Hugging
//! Face directory.
//!
//! [`ChatModel`] is a decoder with its tokenizer and chat template: it is a
//! [`Generator`](grsap_core::Generator) and a [`Perplexity`](grsap_core::Perplexity), and an
//! [`Embedder`](grsap_core::Embedder) by its last hidden state, as MAUVE wants it.
//! [`SentenceEncoder`] is an `Embedder` too. The decoder's linear layers are
//! [`Projection`]s, named as in Hugging Face, so that adapters are walks over named projections.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use grsap_core::{Generator, Message, Prompt, SamplingParams};
//! use grsap_model::ChatModel;
//!
//! let model = ChatModel::load("SmolLM2-135M-Instruct.Q4_1.gguf", &Device::flex())?;
//! let prompt = Prompt::chat([Message::user("What is the capital of France?")]);
//! let answers = model.generate(&[prompt], &SamplingParams::greedy(32))?;
//! println!("{}", answers[0].completions[0].text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod chat_model;
mod chat_template;
mod checkpoint;
mod decoder;
mod decoder_config;
mod encoder;
mod engine;
mod export;
mod gguf;
mod gguf_tokenizer;
#[cfg(feature = "hub")]
mod hub;
mod jinja;
mod last_hidden_state;
mod load_error;
mod mapped_file;
mod norm;
#[cfg(feature = "openai")]
mod openai;
mod prompt_encoder;
mod safetensors_file;
mod special_tokens;
mod stream_decoder;
mod template_limits;
mod tensor_problems;
mod tensor_survey;
mod tokenizer;
mod training_tokens;
mod unit_vector;
mod weights;

pub use chat_model::ChatModel;
pub use chat_template::{ChatTemplate, TemplateError};
pub use checkpoint::Checkpoint;
pub use decoder::{Blocks, Decoder, DecoderInput, KvCache, LoraFactors, Parameter, Projection};
pub use decoder_config::{Activation, DecoderConfig, RopeConfig, RopeScaling};
pub use encoder::SentenceEncoder;
pub use engine::EngineConfig;
pub use export::{SaveConfig, SaveError, WeightDtype};
pub use gguf::{GgufArray, GgufFile, GgufTensor, GgufValue, TensorType};
pub use grsap_kernels::WeightFormat;
#[cfg(feature = "hub")]
pub use hub::{Hub, HubError, HubToken};
pub use load_error::LoadError;
#[cfg(feature = "openai")]
pub use openai::{
    ApiKey, Dialect, OpenAiConfig, OpenAiError, OpenAiGenerator, PromptForm, PromptLogprobs,
    RetryConfig,
};
pub use prompt_encoder::PromptEncoder;
pub use safetensors_file::SafetensorsFile;
pub use stream_decoder::StreamDecoder;
pub use tensor_problems::{MisshapenTensor, TensorProblems};
pub use tokenizer::{ChatEncodingError, ChatTokenizer, ControlTokens, TokenizerError};
pub use training_tokens::{TrainingTokens, TrainingTokensError};
pub use weights::{GgufWeights, TensorSource};
