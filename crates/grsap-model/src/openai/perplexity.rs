use grsap_core::{ModelError, Perplexity, Prompt};

use super::abort::Abort;
use super::answer::{Answer, Choice};
use super::client::Reply;
use super::error::OpenAiError;
use super::generator::OpenAiGenerator;
use super::request::scoring;
use super::workers::in_order;
use crate::chat_model::PERPLEXITY_TOKENS;

/// From the log-probabilities that the server gives for the tokens of a prompt, which is always sent
/// as token ids. llama.cpp and TGI give none: [`OpenAiError::NoPromptLogprobs`].
///
/// # Source
///
/// As for [`ChatModel`](crate::ChatModel): the text as it is, at most 512 tokens, mean over the
/// tokens that have a predecessor (method, stage 2).
impl Perplexity for OpenAiGenerator {
    fn perplexity(&self, texts: &[&str]) -> Result<Vec<f64>, ModelError> {
        let mut tasks = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let prompt = Prompt::Text((*text).to_owned());
            let mut ids = self.prompts.encode_at(index, &prompt)?;
            ids.truncate(PERPLEXITY_TOKENS);
            tasks.push(ids);
        }
        let work = |ids: &Vec<u32>, abort: &Abort| {
            if ids.len() < 2 {
                return Ok(f64::INFINITY);
            }
            let body = scoring(ids, &self.config).to_string();
            self.client.ask(body.as_bytes(), abort, |reply| {
                let Reply::Whole(json) = reply else {
                    return Err(OpenAiError::answer("it is a stream").into());
                };
                let choices = Answer::parse(&json)?.choices()?;
                let [choice] = choices.as_slice() else {
                    let (expected, got) = (1, choices.len());
                    return Err(OpenAiError::Choices { expected, got }.into());
                };
                let logprobs = prompt_logprobs(choice, ids)?;
                let mean = logprobs.iter().sum::<f64>() / logprobs.len() as f64;
                Ok((-mean).exp())
            })
        };
        in_order(&tasks, self.config.max_concurrency, work)
            .map_err(|(index, error)| self.failed(index, error))
    }
}

/// Of every token but the first, in either form.
fn prompt_logprobs(choice: &Choice, ids: &[u32]) -> Result<Vec<f64>, OpenAiError> {
    let wrong = |at: usize| OpenAiError::answer(format!("token {at} has no log-probability"));
    let check = |at: usize, logprob: Option<f64>| {
        let is_logprob = |logprob: &f64| logprob.is_finite() && *logprob <= 1e-3;
        logprob.filter(is_logprob).ok_or_else(|| wrong(at))
    };
    if let Some(prompt) = &choice.prompt_logprobs {
        if prompt.len() != ids.len() {
            let (expected, got) = (ids.len(), prompt.len());
            let reason = format!("{expected} tokens were sent, {got} have log-probabilities");
            return Err(OpenAiError::answer(reason));
        }
        let tokens = ids.iter().zip(prompt).enumerate().skip(1);
        return tokens
            .map(|(at, (id, candidates))| {
                let candidates = candidates.as_ref().ok_or_else(|| wrong(at))?;
                check(
                    at,
                    candidates.get(&id.to_string()).map(|token| token.logprob),
                )
            })
            .collect();
    }
    let echoed = choice.logprobs.as_ref();
    let echoed = echoed
        .and_then(|logprobs| logprobs.token_logprobs.as_ref())
        // One token is generated, too; a server that does not echo has that one alone.
        .filter(|echoed| matches!(echoed.len().checked_sub(ids.len()), Some(0 | 1)))
        .ok_or(OpenAiError::NoPromptLogprobs)?;
    let tokens = echoed.iter().take(ids.len()).enumerate().skip(1);
    tokens.map(|(at, logprob)| check(at, *logprob)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(choice: Value, ids: &[u32]) -> Result<Vec<f64>, OpenAiError> {
        let answer = json!({"choices": [choice]}).to_string();
        let choices = Answer::parse(answer.as_bytes())?.choices()?;
        prompt_logprobs(&choices[0], ids)
    }

    #[test]
    fn both_forms_are_read() {
        let echoed = json!({"logprobs": {"token_logprobs": [null, -1.0, -2.5, -9.0]}});
        assert_eq!(read(echoed.clone(), &[4, 5, 6]).unwrap(), [-1.0, -2.5]);
        assert_eq!(read(echoed, &[4, 5, 6, 7]).unwrap(), [-1.0, -2.5, -9.0]);
        let token = |id: &str, logprob: f64| json!({id: {"logprob": logprob, "rank": 1}});
        let field = json!({"prompt_logprobs": [null, token("5", -1.0), token("6", -2.5)]});
        assert_eq!(read(field, &[4, 5, 6]).unwrap(), [-1.0, -2.5]);
    }

    #[test]
    fn what_is_missing_is_an_error_and_never_a_number() {
        let none = [
            json!({}),
            json!({"logprobs": null}),
            json!({"logprobs": {"content": []}}),
            json!({"logprobs": {"token_logprobs": [-1.0]}}),
            json!({"logprobs": {"token_logprobs": [null, -1.0, -1.0, -1.0, -1.0]}}),
        ];
        for choice in none {
            let error = read(choice, &[4, 5, 6]).unwrap_err();
            assert!(matches!(error, OpenAiError::NoPromptLogprobs), "{error}");
        }
        let broken = [
            json!({"logprobs": {"token_logprobs": [null, -1.0, null]}}),
            json!({"logprobs": {"token_logprobs": [null, 2.0, -1.0]}}),
            json!({"prompt_logprobs": [null, {"5": {"logprob": -1.0}}]}),
            json!({"prompt_logprobs": [null, {"5": {"logprob": -1.0}}, null]}),
            json!({"prompt_logprobs": [null, {"5": {"logprob": -1.0}}, {"5": {"logprob": -1.0}}]}),
        ];
        for choice in broken {
            let error = read(choice, &[4, 5, 6]).unwrap_err();
            assert!(matches!(error, OpenAiError::Answer { .. }), "{error}");
        }
    }
}
