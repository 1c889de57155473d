//! A server that our own engine is behind: real HTTP and a real model, so the answers are those of
//! the model in this process.

use grsap_core::{
    FinishReason, Generator as _, Message, Perplexity as _, Prompt, SafetyDomain, SamplingConfig,
    SamplingParams,
};
use grsap_model::{ChatModel, OpenAiConfig, PromptLogprobs, TrainingTokens};
use grsap_replay::synth::{Extraction, ExtractionConfig, Filtered};
use serde_json::{Map, Value, json};

use crate::server::{Answer, Request, Server, event};
use crate::{config, generator, smollm2};

/// Speaks the part of the protocol that is used, as vLLM does.
fn serve(request: &Request) -> Answer {
    let (model, body) = (smollm2(), &request.body);
    assert_eq!(body["model"], "smollm2");
    let ids = request.input_ids();
    if body["echo"] == true || body["prompt_logprobs"] == 0 {
        return Answer::new(200, scores(model, &ids, body["echo"] == true).to_string());
    }
    // A text whose tokens they are.
    let text = model.tokenizer().decode(&ids, false).unwrap();
    let prompt = Prompt::Text(text);
    assert_eq!(model.encode(&prompt).unwrap(), ids);
    let top_k = body["top_k"]
        .as_i64()
        .and_then(|top_k| usize::try_from(top_k).ok());
    let params = SamplingParams::new(SamplingConfig {
        temperature: body["temperature"].as_f64().unwrap(),
        top_p: body["top_p"].as_f64().unwrap(),
        top_k,
        max_new_tokens: serde_json::from_value(body["max_tokens"].clone()).unwrap(),
        n: serde_json::from_value(body["n"].clone()).unwrap(),
        stop: Vec::new(),
        seed: body["seed"].as_u64().unwrap(),
    })
    .unwrap();
    let generation = model.generate(&[prompt], &params).unwrap().remove(0);
    let mut events = Vec::new();
    let mut num_tokens = 0;
    for (index, completion) in generation.completions.iter().enumerate() {
        num_tokens += completion.num_tokens;
        // A word at a time.
        let words = completion.text.split_inclusive(' ');
        events.extend(words.map(|word| event(index, word, None).to_string()));
        let reason = match completion.finish_reason {
            FinishReason::Length => "length",
            _ => "stop",
        };
        events.push(event(index, "", Some(reason)).to_string());
    }
    let usage = json!({"choices": [], "usage": {"completion_tokens": num_tokens}});
    events.extend([usage.to_string(), "[DONE]".into()]);
    Answer::events(events)
}

fn scores(model: &ChatModel, ids: &[u32], is_echo: bool) -> Value {
    let one_target = |target: usize| TrainingTokens {
        input_ids: ids.to_vec(),
        is_target: (0..ids.len()).map(|at| at == target).collect(),
    };
    let examples: Vec<TrainingTokens> = (1..ids.len()).map(one_target).collect();
    let losses = model.target_nll(&examples).unwrap();
    let logprobs = losses.iter().map(|(nll, _)| json!(-nll));
    let first = std::iter::once(Value::Null);
    if is_echo {
        // The token that had to be generated comes last.
        let all: Vec<Value> = first.chain(logprobs).chain([json!(-0.5)]).collect();
        return json!({"choices": [{"text": "...", "finish_reason": "length",
                                   "logprobs": {"token_logprobs": all}}]});
    }
    let candidates = ids.iter().skip(1).zip(logprobs).map(|(id, logprob)| {
        let token = json!({"logprob": logprob, "rank": 1, "decoded_token": "x"});
        Value::Object(Map::from_iter([(id.to_string(), token)]))
    });
    let all: Vec<Value> = first.chain(candidates).collect();
    json!({"choices": [{"text": "x", "finish_reason": "length", "prompt_logprobs": all}]})
}

fn chats() -> Vec<Prompt> {
    vec![
        Prompt::chat([Message::user("What is the capital of France?")]),
        Prompt::prefilled([
            Message::user("Name three rivers."),
            Message::assistant("Three rivers are"),
        ]),
        Prompt::chat([
            Message::system("Answer with one word."),
            Message::user("What colour is the sky? «é»"),
        ]),
        Prompt::prefilled([Message::user("Please tell me how")]),
        Prompt::Text("The quick brown fox".into()),
    ]
}

#[test]
fn answers_are_those_of_the_engine_behind_the_server() {
    let server = Server::start(|request, _| serve(request));
    let remote = generator(config(server.base_url()));
    let mut greedy = SamplingConfig::greedy(24);
    for stop in [vec![], vec![".".to_owned(), "\n".to_owned()]] {
        greedy.stop = stop;
        let params = SamplingParams::new(greedy.clone()).unwrap();
        let expected = smollm2().generate(&chats(), &params).unwrap();
        let got = remote.generate(&chats(), &params).unwrap();
        for (expected, got) in expected.iter().zip(&got) {
            let (expected, got) = (&expected.completions[0], &got.completions[0]);
            assert_eq!(got.text, expected.text);
            assert_eq!(got.finish_reason, expected.finish_reason);
            if got.finish_reason != FinishReason::Stop {
                assert_eq!(got.num_tokens, expected.num_tokens);
            }
        }
    }
}

#[test]
fn samples_are_those_of_their_seeds() {
    let server = Server::start(|request, _| serve(request));
    let remote = generator(config(server.base_url()));
    let params = SamplingParams::new(SamplingConfig {
        temperature: 0.8,
        top_p: 0.95,
        top_k: Some(50),
        max_new_tokens: 12,
        n: 3,
        seed: 11,
        stop: Vec::new(),
    })
    .unwrap();
    let prompt = chats().remove(1);
    let samples = remote
        .generate(std::slice::from_ref(&prompt), &params)
        .unwrap();
    let mut expected = std::collections::BTreeSet::new();
    for request in server.requests() {
        let mut one = params.clone().into_config();
        (one.n, one.seed) = (1, request.body["seed"].as_u64().unwrap());
        let one = SamplingParams::new(one).unwrap();
        let mut generation = smollm2()
            .generate(std::slice::from_ref(&prompt), &one)
            .unwrap();
        expected.insert(generation.remove(0).completions.remove(0).text);
    }
    let got = samples[0]
        .completions
        .iter()
        .map(|c| c.text.clone())
        .collect();
    assert_eq!(expected, got);
    assert_eq!(expected.len(), 3);
    let again = remote.generate(&[prompt], &params).unwrap();
    assert_eq!(samples, again);
}

#[test]
fn perplexities_are_those_of_the_engine_behind_the_server() {
    let server = Server::start(|request, _| serve(request));
    let texts = [
        "The cat sat on the mat.",
        "Colourless green ideas",
        "a",
        "Été\n\n2026",
    ];
    let expected = smollm2().perplexity(&texts).unwrap();
    for form in [PromptLogprobs::Echo, PromptLogprobs::PromptLogprobs] {
        let remote = generator(OpenAiConfig {
            prompt_logprobs: form,
            ..config(server.base_url())
        });
        let got = remote.perplexity(&texts).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            let is_close = got == expected || (got / expected - 1.0).abs() < 1e-6;
            assert!(is_close, "{got} is not {expected}");
        }
    }
}

/// A stage of the pipeline that rests on open turns, stop texts and seeds.
#[test]
fn queries_are_extracted_through_a_server() {
    let server = Server::start(|request, _| serve(request));
    let remote = generator(config(server.base_url()));
    let mut extraction = ExtractionConfig {
        num_samples: 8,
        max_continuations: 0,
        min_query_chars: 1,
        ..Default::default()
    };
    extraction.sampling.max_new_tokens = 40;
    let domains = ["theft", "misinformation"].map(SafetyDomain::new);
    let run = |chunk_size: usize| -> Filtered {
        let stage = Extraction::new(extraction.clone()).unwrap();
        let stage = stage.with_chunk_size(chunk_size);
        stage.run(&remote, &domains, 7, &()).unwrap()
    };
    let found = run(64);
    assert_eq!(found.kept.len() + found.rejected.len(), 16);
    assert!(!found.kept.is_empty());
    let queries = |found: &Filtered| -> Vec<String> {
        found
            .kept
            .iter()
            .map(|candidate| candidate.query.clone())
            .collect()
    };
    assert_eq!(queries(&run(8)), queries(&found));
    // Each prompt is left open behind a quotation mark.
    for request in server.requests() {
        let text = smollm2()
            .tokenizer()
            .decode(&request.input_ids(), false)
            .unwrap();
        assert!(text.ends_with('"'), "{text}");
    }
}
