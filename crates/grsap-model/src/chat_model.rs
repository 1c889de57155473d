use std::path::Path;

use burn::tensor::Device;
use grsap_core::{Generation, Generator, ModelError, Perplexity, Prompt, SamplingParams};
use grsap_kernels::WeightFormat;

use crate::chat_template::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::decoder::Decoder;
use crate::engine::{EngineConfig, Job, generate};
use crate::load_error::LoadError;
use crate::prompt_encoder::encode_prompt;
use crate::tokenizer::{ChatTokenizer, ControlTokens};
use crate::training_tokens::TrainingTokens;

/// The longest text whose perplexity is taken; a longer one is cut (method, stage 2).
pub(crate) const PERPLEXITY_TOKENS: usize = 512;

/// A decoder with its tokenizer and chat template.
///
/// # Examples
///
/// ```no_run
/// use burn::tensor::Device;
/// use grsap_core::Perplexity;
/// use grsap_model::ChatModel;
///
/// let model = ChatModel::load("path/to/model", &Device::flex())?;
/// let perplexity = model.perplexity(&["The cat sat on the mat."])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatModel {
    decoder: Decoder,
    tokenizer: ChatTokenizer,
    template: Option<ChatTemplate>,
    engine: EngineConfig,
    control_tokens: ControlTokens,
}

impl ChatModel {
    /// Loads a GGUF file, or a directory in Hugging Face's layout.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the file and the field or tensor that is missing or wrong.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, LoadError> {
        Self::load_as(path, device, WeightFormat::F32)
    }

    /// The same, with the linear layers in another [format](WeightFormat): `bf16` halves their memory,
    /// `int8` quarters it, four bits are for training adapters. All round; how is said there.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and when the device does not have the format.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use burn::tensor::Device;
    /// # use grsap_model::{ChatModel, WeightFormat};
    /// let model = ChatModel::load_as("path/to/model", &Device::flex(), WeightFormat::Bf16)?;
    /// # Ok::<(), grsap_model::LoadError>(())
    /// ```
    pub fn load_as(
        path: impl AsRef<Path>,
        device: &Device,
        format: WeightFormat,
    ) -> Result<Self, LoadError> {
        let checkpoint = Checkpoint::open(path)?;
        let (weights, config) = (checkpoint.weights.as_ref(), &checkpoint.config);
        let decoder = Decoder::load_as(weights, config, device, format)?;
        Ok(Self {
            decoder,
            tokenizer: checkpoint.tokenizer,
            template: checkpoint.template,
            engine: EngineConfig::default(),
            control_tokens: ControlTokens::default(),
        })
    }

    /// Fetches a model from the Hugging Face Hub, as far as it is not in the cache, and loads it.
    /// The hub's own environment variables are followed ([`Hub::from_env`](crate::Hub::from_env)).
    ///
    /// `revision` is a branch, a tag or a commit.
    ///
    /// # Errors
    ///
    /// [`LoadError::Hub`], or as [`load`](Self::load).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use burn::tensor::Device;
    /// # use grsap_model::ChatModel;
    /// let name = "HuggingFaceTB/SmolLM2-135M-Instruct";
    /// let model = ChatModel::from_hub(name, "main", &Device::flex())?;
    /// # Ok::<(), grsap_model::LoadError>(())
    /// ```
    #[cfg(feature = "hub")]
    pub fn from_hub(repo: &str, revision: &str, device: &Device) -> Result<Self, LoadError> {
        let folder = crate::hub::Hub::from_env()?.fetch(repo, revision)?;
        Self::load(folder, device)
    }

    /// The same model with other limits on what is computed at a time.
    #[must_use]
    pub fn with_engine(mut self, engine: EngineConfig) -> Self {
        self.engine = engine;
        self
    }

    /// The same model with another way to read special tokens that messages spell out.
    #[must_use]
    pub fn with_control_tokens(mut self, control_tokens: ControlTokens) -> Self {
        self.control_tokens = control_tokens;
        self
    }

    /// How special tokens that messages spell out are read.
    pub fn control_tokens(&self) -> ControlTokens {
        self.control_tokens
    }

    /// The weights.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The weights, to put adapters on.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ChatTokenizer {
        &self.tokenizer
    }

    /// The chat template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The tokens of a prompt: a chat through the template, plain text with a BOS token only where
    /// the tokenizer asks for one and the text does not spell it out.
    ///
    /// # Errors
    ///
    /// When the template refuses the messages, or the model has none.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        self.encode_at(0, prompt)
    }

    /// The tokens of input `index` of a batch, a plain text.
    pub(crate) fn encode_text_at(&self, index: usize, text: &str) -> Result<Vec<u32>, ModelError> {
        self.encode_at(index, &Prompt::Text(text.to_owned()))
    }

    fn encode_at(&self, index: usize, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        let template = self.template.as_ref();
        encode_prompt(
            index,
            prompt,
            &self.tokenizer,
            template,
            self.control_tokens,
        )
    }

    /// The negative log-likelihoods of the tokens that the assistant writes, for each example:
    /// their sum in nats and their number.
    ///
    /// # Errors
    ///
    /// As [`Decoder::target_nll`].
    pub fn target_nll(&self, examples: &[TrainingTokens]) -> Result<Vec<(f64, usize)>, ModelError> {
        let sequences: Vec<(&[u32], &[bool])> = examples
            .iter()
            .map(|example| (example.input_ids.as_slice(), example.is_target.as_slice()))
            .collect();
        self.decoder.target_nll(&sequences)
    }
}

impl Generator for ChatModel {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        let encode = |(index, prompt)| {
            Ok(Job {
                input_ids: self.encode_at(index, prompt)?,
            })
        };
        let jobs: Vec<Job> = prompts
            .iter()
            .enumerate()
            .map(encode)
            .collect::<Result<_, _>>()?;
        generate(&self.decoder, &self.tokenizer, &jobs, params, &self.engine)
    }
}

/// # Source
///
/// The text as it is, at most 512 tokens, mean over the tokens that have a predecessor (method,
/// stage 2).
impl Perplexity for ChatModel {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        let limit = PERPLEXITY_TOKENS.min(self.decoder.config().max_position_embeddings);
        let mut sequences = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let mut ids = self.encode_text_at(index, text)?;
            ids.truncate(limit);
            sequences.push(ids);
        }
        let all = [true; PERPLEXITY_TOKENS];
        let scored: Vec<(&[u32], &[bool])> = sequences
            .iter()
            .map(|ids| (ids.as_slice(), all.as_slice()))
            .collect();
        let perplexity = |(sum, n): (f64, usize)| {
            if n == 0 {
                f64::INFINITY
            } else {
                (sum / n as f64).exp()
            }
        };
        let scores = self.decoder.target_nll(&scored)?;
        Ok(scores.into_iter().map(perplexity).collect())
    }
}
