use std::fmt;

use grsap_core::{Completion, Generation, Generator, ModelError, Prompt, SamplingParams};

use super::abort::{Abort, Ended};
use super::answer::Answer;
use super::api_key::ApiKey;
use super::client::{Client, EventStream, Reply};
use super::collector::Collector;
use super::config::{Dialect, OpenAiConfig};
use super::error::OpenAiError;
use super::request::{Encoded, Samples, completion};
use super::workers::in_order;
use crate::prompt_encoder::PromptEncoder;
use crate::tokenizer::ControlTokens;

/// A model behind a server that speaks OpenAI's completions protocol: vLLM (also on Ray Serve,
/// across machines), SGLang, llama.cpp, TGI, and others.
///
/// It is a [`Generator`] and a [`Perplexity`](grsap_core::Perplexity), so it stands where a
/// [`ChatModel`](crate::ChatModel) stands. Prompts are rendered and, by default, turned into tokens
/// here, by the model's own template and tokenizer, and sent to `/completions`: turns can stay open,
/// and no token is added twice.
///
/// Requests run side by side in threads, at most
/// [`max_concurrency`](OpenAiConfig::max_concurrency), and are made again when they fail
/// ([`RetryConfig`](super::RetryConfig)). Results are in order whatever comes first. When one fails
/// for good, the others end as soon as their next bytes come. Answers are streamed and stop texts
/// are looked for here: the connection is closed as soon as one appears, at which servers stop
/// computing.
///
/// # Seeds
///
/// Each request has a seed that follows from the seed, the prompt and the sample's index. Whether
/// the same seed gives the same text is up to the server; floating-point sums that depend on the
/// server's batches can turn a near tie.
///
/// # Examples
///
/// ```no_run
/// use grsap_core::{Generator, Message, Prompt, SamplingParams};
/// use grsap_model::{ApiKey, OpenAiConfig, OpenAiGenerator, PromptEncoder};
///
/// let config = OpenAiConfig {
///     base_url: "http://head-node:8000/v1".into(),
///     model: "Qwen/Qwen2.5-7B-Instruct".into(),
///     ..Default::default()
/// };
/// let prompts = PromptEncoder::load("Qwen2.5-7B-Instruct")?; // no weights needed
/// let model = OpenAiGenerator::new(config, prompts)?.with_api_key(ApiKey::new("sk-..."));
/// let prompt = Prompt::prefilled([Message::user("Name a river."), Message::assistant("The ")]);
/// let answers = model.generate(&[prompt], &SamplingParams::greedy(32))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OpenAiGenerator {
    pub(super) config: OpenAiConfig,
    pub(super) prompts: PromptEncoder,
    pub(super) client: Client,
}

impl OpenAiGenerator {
    /// A server, and the tokenizer and template of its model. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`OpenAiError::Config`] names the setting that cannot be used.
    pub fn new(config: OpenAiConfig, prompts: PromptEncoder) -> Result<Self, OpenAiError> {
        config.check()?;
        let is_text = config.prompt_form == super::PromptForm::Text;
        if is_text && prompts.control_tokens() == ControlTokens::AsText {
            return Err(OpenAiError::Config {
                field: "prompt_form",
                expected: "token ids where special tokens in messages are text",
                got: "text".into(),
            });
        }
        Ok(Self {
            client: Client::new(&config),
            config,
            prompts,
        })
    }

    /// The same with a key. It is sent to the server alone, and never printed.
    #[must_use]
    pub fn with_api_key(mut self, key: Option<ApiKey>) -> Self {
        self.client = self.client.with_key(key);
        self
    }

    /// Where the server is and how it is used.
    pub fn config(&self) -> &OpenAiConfig {
        &self.config
    }

    /// The tokenizer and template.
    pub fn prompts(&self) -> &PromptEncoder {
        &self.prompts
    }

    /// An error of prompt or text `index`.
    pub(super) fn failed(&self, index: usize, error: OpenAiError) -> ModelError {
        ModelError::backend(format!("input {index}: {} failed", self.client.url), error)
    }

    fn complete(
        &self,
        task: &Task<'_>,
        params: &SamplingParams,
        abort: &Abort,
    ) -> Result<Vec<Completion>, Ended> {
        let tokenizer = self.prompts.tokenizer();
        let (samples, eos_ids) = (task.samples, tokenizer.eos_ids());
        let body = completion(task.prompt, samples, params, &self.config, eos_ids);
        let body = body.to_string();
        self.client.ask(body.as_bytes(), abort, |reply| {
            let mut collector = Collector::new(samples.num, &params.stop);
            let mut is_whole = false;
            match reply {
                // Servers that cannot stream send all at once.
                Reply::Whole(json) => {
                    collector.push(Answer::parse(&json)?)?;
                    is_whole = true;
                }
                Reply::Events(mut events) => {
                    while let Some(data) = next_event(&mut events, &collector)? {
                        abort.check()?;
                        is_whole = data.trim_ascii() == b"[DONE]";
                        if is_whole {
                            break;
                        }
                        collector.push(Answer::parse(&data)?)?;
                        // What the server ended itself is followed by the number of its tokens.
                        if collector.is_done() && collector.is_stopped() {
                            break;
                        }
                    }
                }
            }
            Ok(collector.finish(is_whole, tokenizer)?)
        })
    }
}

/// The next event. When all choices have ended, only a count and a mark are still to come, and a
/// connection that breaks then has lost nothing.
fn next_event(
    events: &mut EventStream,
    collector: &Collector<'_>,
) -> Result<Option<Vec<u8>>, OpenAiError> {
    events.next().or_else(|error| match collector.is_done() {
        true => Ok(None),
        false => Err(error),
    })
}

/// One request of a call.
struct Task<'a> {
    index: usize,
    prompt: &'a Encoded,
    samples: Samples,
}

impl Generator for OpenAiGenerator {
    fn generate(
        &self,
        prompts: &[Prompt],
        params: &SamplingParams,
    ) -> Result<Vec<Generation>, ModelError> {
        if self.config.dialect == Dialect::Standard && params.top_k.is_some() {
            let source = OpenAiError::Config {
                field: "dialect",
                expected: "one that has top_k",
                got: "the standard one".into(),
            };
            return Err(ModelError::backend("the requests cannot be made", source));
        }
        let form = self.config.prompt_form;
        let encoded: Vec<Encoded> = prompts
            .iter()
            .enumerate()
            .map(|(index, prompt)| Encoded::new(index, prompt, &self.prompts, form))
            .collect::<Result<_, _>>()?;
        // Greedy samples are all the same, and some servers refuse to make more than one.
        let is_greedy = params.temperature == 0.0;
        let num_samples = if is_greedy { 1 } else { params.n };
        let step = self.config.choices_per_request;
        let tasks: Vec<Task<'_>> = encoded
            .iter()
            .enumerate()
            .flat_map(|(index, prompt)| {
                (0..num_samples).step_by(step).map(move |first| Task {
                    index,
                    prompt,
                    samples: Samples {
                        first,
                        num: step.min(num_samples - first),
                    },
                })
            })
            .collect();
        let work = |task: &Task<'_>, abort: &Abort| self.complete(task, params, abort);
        let parts =
            in_order(&tasks, self.config.max_concurrency, work).map_err(|(position, error)| {
                let index = tasks.get(position).map_or(0, |task| task.index);
                self.failed(index, error)
            })?;
        let mut generations: Vec<Vec<Completion>> = vec![Vec::new(); prompts.len()];
        for (task, completions) in tasks.iter().zip(parts) {
            if let Some(generation) = generations.get_mut(task.index) {
                generation.extend(completions);
            }
        }
        Ok(generations
            .into_iter()
            .map(|completions| Generation {
                completions: completions.into_iter().cycle().take(params.n).collect(),
            })
            .collect())
    }
}

impl fmt::Debug for OpenAiGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiGenerator")
            .field("config", &self.config)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
