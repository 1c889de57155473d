use grsap_core::{ModelError, Prompt, SamplingParams};
use rand::Rng as _;
use serde_json::{Value, json};

use super::config::{Dialect, OpenAiConfig, PromptForm, PromptLogprobs};
use crate::prompt_encoder::PromptEncoder;

/// A prompt as it is sent.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) input_ids: Vec<u32>,
    sent: Value,
}

impl Encoded {
    pub(super) fn new(
        index: usize,
        prompt: &Prompt,
        prompts: &PromptEncoder,
        form: PromptForm,
    ) -> Result<Self, ModelError> {
        let input_ids = prompts.encode_at(index, prompt)?;
        if input_ids.is_empty() {
            let reason = "the prompt has no tokens".into();
            return Err(ModelError::InvalidInput { index, reason });
        }
        let sent = match form {
            PromptForm::TokenIds => json!(input_ids),
            PromptForm::Text => {
                let text = prompts.render_at(index, prompt)?;
                let tokenizer = prompts.tokenizer();
                let bos = tokenizer.bos_token().filter(|_| tokenizer.add_bos());
                let without = bos.and_then(|bos| text.strip_prefix(bos));
                json!(without.unwrap_or(&text))
            }
        };
        Ok(Self { input_ids, sent })
    }
}

/// Samples of one prompt that one request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Samples {
    /// The index of the first.
    pub(super) first: usize,
    pub(super) num: usize,
}

/// The body of a request for completions.
pub(super) fn completion(
    prompt: &Encoded,
    samples: Samples,
    params: &SamplingParams,
    config: &OpenAiConfig,
    eos_ids: &[u32],
) -> Value {
    let mut body = json!({
        "model": config.model,
        "prompt": prompt.sent,
        "max_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "n": samples.num,
        "seed": seed(params.seed, &prompt.input_ids, samples.first),
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if config.dialect == Dialect::Extended {
        let top_k = params.top_k.map_or(json!(-1), |top_k| json!(top_k));
        let more = [
            ("top_k", top_k),
            ("min_p", json!(0.0)),
            ("repetition_penalty", json!(1.0)),
            ("stop_token_ids", json!(eos_ids)),
            // llama.cpp applies the temperature last by default, and other samplers.
            ("samplers", json!(["temperature", "top_k", "top_p"])),
        ];
        if let Value::Object(fields) = &mut body {
            fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
        }
    }
    body
}

/// The body of a request for the log-probabilities of the tokens of a prompt.
pub(super) fn scoring(input_ids: &[u32], config: &OpenAiConfig) -> Value {
    let mut body = json!({
        "model": config.model,
        "prompt": input_ids,
        // Not every server takes 0.
        "max_tokens": 1,
        "temperature": 0,
    });
    let asked = match config.prompt_logprobs {
        PromptLogprobs::Echo => vec![("echo", json!(true)), ("logprobs", json!(1))],
        PromptLogprobs::PromptLogprobs => vec![("prompt_logprobs", json!(0))],
    };
    if let Value::Object(fields) = &mut body {
        fields.extend(
            asked
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    body
}

/// The seed of the samples from `first` on: positive and of 31 bits, which every server takes.
fn seed(seed: u64, input_ids: &[u32], first: usize) -> u32 {
    let ids: Vec<u8> = input_ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let first = (first as u64).to_le_bytes();
    grsap_core::rng(seed, "openai.seed", &[&ids, &first]).next_u32() >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat_template::ChatTemplate;
    use crate::gguf::GgufFile;
    use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};
    use crate::tokenizer::ChatTokenizer;
    use grsap_core::{Message, SamplingConfig};

    fn prompts(add_bos: bool) -> PromptEncoder {
        let mut file = tiny_tokenizer(GgufBuilder::new()).build();
        let key = b"tokenizer.ggml.add_bos_token";
        let key_at = file.windows(key.len()).position(|bytes| bytes == key);
        // The value stands behind the key and the number of its type.
        file[key_at.unwrap() + key.len() + 4] = add_bos.into();
        let file = GgufFile::from_bytes(file).unwrap();
        let tokenizer = ChatTokenizer::from_gguf(&file).unwrap();
        let bos = tokenizer.bos_token().unwrap().to_owned();
        let template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
        let template = ChatTemplate::new(template, Some(&bos), None).unwrap();
        PromptEncoder::new(tokenizer, Some(template))
    }

    fn sent(prompt: &Prompt, add_bos: bool, form: PromptForm) -> Value {
        Encoded::new(0, prompt, &prompts(add_bos), form)
            .unwrap()
            .sent
    }

    #[test]
    fn there_is_one_bos_in_either_form() {
        let chat = Prompt::prefilled([Message::user("hi")]);
        let ids = prompts(true).encode(&chat).unwrap();
        assert_eq!(sent(&chat, true, PromptForm::TokenIds), json!(ids));
        assert_eq!(ids.iter().filter(|id| **id == ids[0]).count(), 1);
        // The server adds it.
        assert_eq!(sent(&chat, true, PromptForm::Text), "hi");
        // The server does not.
        let text = sent(&chat, false, PromptForm::Text);
        assert!(text.as_str().is_some_and(|text| text.len() > 2), "{text}");
        let plain = Prompt::Text("hi".into());
        assert_eq!(sent(&plain, true, PromptForm::Text), "hi");
    }

    #[test]
    fn an_empty_prompt_is_named() {
        let error = Encoded::new(
            4,
            &Prompt::Text(String::new()),
            &prompts(false),
            PromptForm::Text,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "input 4: the prompt has no tokens"
        );
    }

    #[test]
    fn seeds_depend_on_what_fixes_a_sample_alone() {
        assert_eq!(seed(7, &[1, 2], 3), seed(7, &[1, 2], 3));
        let others = [
            seed(8, &[1, 2], 3),
            seed(7, &[1, 3], 3),
            seed(7, &[1, 2], 4),
        ];
        assert!(!others.contains(&seed(7, &[1, 2], 3)));
        assert!((0..100).all(|i| seed(i, &[1], 0) < 1 << 31));
    }

    #[test]
    fn fields_are_those_of_the_dialect() {
        let config = OpenAiConfig {
            model: "m".into(),
            ..Default::default()
        };
        let params = SamplingParams::new(SamplingConfig {
            stop: vec!["\"".into()],
            ..Default::default()
        });
        let prompt = Prompt::Text("hi".into());
        let prompt = Encoded::new(0, &prompt, &prompts(false), PromptForm::TokenIds).unwrap();
        let samples = Samples { first: 0, num: 2 };
        let body = completion(&prompt, samples, &params.unwrap(), &config, &[2, 5]);
        assert_eq!(body["n"], 2);
        assert_eq!(body["top_k"], -1);
        assert_eq!(body["stop_token_ids"], json!([2, 5]));
        assert_eq!(body.get("stop"), None);
        let standard = OpenAiConfig {
            dialect: Dialect::Standard,
            ..config.clone()
        };
        let body = completion(
            &prompt,
            samples,
            &SamplingParams::greedy(3),
            &standard,
            &[2],
        );
        let known = [
            "max_tokens",
            "model",
            "n",
            "prompt",
            "seed",
            "stream",
            "stream_options",
            "temperature",
            "top_p",
        ];
        let mut fields: Vec<_> = body.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, known);

        let body = scoring(&[1, 2], &config);
        assert_eq!(
            (&body["echo"], &body["logprobs"]),
            (&json!(true), &json!(1))
        );
        let vllm = OpenAiConfig {
            prompt_logprobs: PromptLogprobs::PromptLogprobs,
            ..config
        };
        let body = scoring(&[1, 2], &vllm);
        assert_eq!(
            (body.get("echo"), &body["prompt_logprobs"]),
            (None, &json!(0))
        );
    }
}
