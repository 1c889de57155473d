//! Servers that fail, lie, stall and flood: each is an error of its own, and nothing panics.

use std::error::Error;
use std::time::Duration;

use grsap_core::{
    Generator as _, ModelError, Perplexity as _, Prompt, SamplingConfig, SamplingParams,
};
use grsap_model::{ApiKey, OpenAiConfig, OpenAiError, PromptLogprobs};
use serde_json::json;

use crate::server::{Answer, Request, Server, event};
use crate::{config, generator};

const KEY: &str = "sk-very-secret";

fn prompt(text: &str) -> Prompt {
    Prompt::Text(text.into())
}

/// The server's part of an error, and that it names input 0, after it was looked through for the
/// key.
fn cause(error: ModelError) -> OpenAiError {
    let mut texts = vec![error.to_string(), format!("{error:?}")];
    let mut source = error.source();
    while let Some(inner) = source {
        texts.extend([inner.to_string(), format!("{inner:?}")]);
        source = inner.source();
    }
    for text in &texts {
        assert!(!text.contains("very-secret"), "{text}");
    }
    let ModelError::Backend { context, source } = error else {
        panic!("{}", texts[0]);
    };
    assert!(
        context.starts_with("input 0: http://127.0.0.1:"),
        "{context}"
    );
    *source.downcast::<OpenAiError>().unwrap()
}

/// What comes of one request to a server that always answers so, and how often it was asked.
fn ask(answer: Answer, n: usize, change: impl Fn(&mut OpenAiConfig)) -> (OpenAiError, usize) {
    let server = Server::start(move |_, _| answer.clone());
    let mut config = config(server.base_url());
    config.choices_per_request = n;
    change(&mut config);
    let model = generator(config).with_api_key(ApiKey::new(KEY));
    assert!(!format!("{model:?}").contains(KEY));
    let params = SamplingParams::new(SamplingConfig {
        n,
        ..Default::default()
    });
    let error = model.generate(&[prompt("Hello")], &params.unwrap());
    let requests = server.requests();
    for Request { path, headers, .. } in &requests {
        assert_eq!(path, "/v1/completions");
        assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    }
    (cause(error.unwrap_err()), requests.len())
}

/// The failure behind three attempts.
fn given_up(answer: Answer) -> OpenAiError {
    let (error, num_requests) = ask(answer, 1, |_| {});
    assert_eq!(num_requests, 3);
    match error {
        OpenAiError::GaveUp {
            attempts: 3,
            source,
        } => *source,
        other => panic!("{other}"),
    }
}

/// The failure of the only attempt.
fn at_once(answer: Answer, n: usize) -> OpenAiError {
    let (error, num_requests) = ask(answer, n, |_| {});
    assert_eq!(num_requests, 1, "{error}");
    error
}

#[test]
fn what_may_pass_is_tried_again() {
    let server = Server::start(|_, number| match number {
        0 => Answer::new(500, "out of order"),
        1 => Answer::events([event(0, "lost", None)]),
        2 => Answer::raw(""),
        3 => Answer {
            promised: Some(1000),
            ..Answer::new(200, "{\"choices\": [")
        },
        4 => Answer::new(429, "").with_header("retry-after-ms", "20"),
        _ => Answer::stream(&["fo", "und"]),
    });
    let mut config = config(server.base_url());
    config.retry.num_retries = 5;
    let answers = generator(config).generate(&[prompt("Hello")], &SamplingParams::greedy(9));
    assert_eq!(answers.unwrap()[0].completions[0].text, "found");
    let requests = server.requests();
    assert_eq!(requests.len(), 6);
    assert!(
        requests
            .iter()
            .all(|request| request.body == requests[0].body)
    );
}

#[test]
fn what_does_not_pass_is_given_up() {
    for status in [408, 429, 500, 502, 503] {
        let body = json!({"error": {"message": format!("{KEY} is bad"), "code": 1}}).to_string();
        let error = given_up(Answer::new(status, body));
        assert_eq!(
            error.to_string(),
            format!("the server failed (status {status}): [key] is bad")
        );
    }
    assert!(matches!(
        given_up(Answer::raw("")),
        OpenAiError::Connection { .. }
    ));
    assert!(matches!(
        given_up(Answer::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n")),
        OpenAiError::Connection { .. }
    ));
    let half = event(0, "a", None).to_string();
    let cut = [
        Answer::events([event(0, "a", None)]),
        Answer::events([&half[..half.len() / 2]]),
        Answer::events([""; 0]),
        Answer {
            promised: Some(1 << 20),
            ..Answer::new(200, half.as_str())
        },
        Answer::new(200, &half[..half.len() / 2]),
        // In the middle of a chunk.
        Answer::raw("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"cho"),
    ];
    for answer in cut {
        let shown = format!("{answer:?}");
        assert!(matches!(given_up(answer), OpenAiError::Cut), "{shown}");
    }
    // An error in the middle of a stream.
    let late = json!({"error": {"message": "out of memory", "code": 500}});
    let error = given_up(Answer::events([event(0, "a", None), late]));
    assert_eq!(
        error.to_string(),
        "the server failed (status 500): out of memory"
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let model = generator(config("http://127.0.0.1:9/v1".into()));
    let error = model.generate(&[prompt("Hello")], &SamplingParams::greedy(1));
    let OpenAiError::GaveUp { source, .. } = cause(error.unwrap_err()) else {
        panic!("not given up");
    };
    assert!(matches!(*source, OpenAiError::Connection { .. }));
}

#[test]
fn refusals_are_not_repeated() {
    let body = json!({"error": {"message": format!("no {KEY}")}}).to_string();
    for status in [401, 403] {
        let error = at_once(Answer::new(status, body.as_str()), 1);
        let expected = format!("access denied (status {status}): no [key]");
        assert_eq!(error.to_string(), expected);
    }
    for status in [400, 404, 413, 422] {
        let error = at_once(Answer::new(status, body.as_str()), 1);
        let expected = format!("the request was refused (status {status}): no [key]");
        assert_eq!(error.to_string(), expected);
    }
    // The key is not carried elsewhere.
    let elsewhere = Server::start(|_, _| Answer::stream(&["stolen"]));
    for status in [302, 307, 308] {
        let answer = Answer::new(status, "").with_header("location", elsewhere.base_url());
        let error = at_once(answer, 1);
        assert!(matches!(error, OpenAiError::Refused { .. }), "{error}");
    }
    assert!(elsewhere.requests().is_empty());
    let late = json!({"error": {"message": "too long", "code": 400}});
    let error = at_once(Answer::events([late]), 1);
    let expected = "the request was refused (status 400): too long";
    assert_eq!(error.to_string(), expected);
    // A long body of a refusal is not read to its end.
    let flood = Answer {
        is_endless: true,
        promised: None,
        ..Answer::new(400, vec![b'x'; 1 << 16])
    };
    assert!(at_once(flood, 1).to_string().len() < 500);
}

#[test]
fn garbage_is_an_error_of_its_own() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let garbage: [&[u8]; 9] = [
        b"<html>busy</html>",
        b"\0\0\0",
        b"\xFF\xFE{}",
        b"{}",
        b"[1, 2]",
        b"{\"choices\": null}",
        b"{\"choices\": [{\"index\": -1, \"text\": \"a\"}]}",
        b"{\"choices\": [{\"index\": 0, \"text\": 7}]}",
        deep.as_bytes(),
    ];
    for bytes in garbage {
        let mut stream = Answer::events([""; 0]);
        stream.pieces = vec![[b"data: ", bytes, b"\n\n"].concat()];
        for answer in [Answer::new(200, bytes), stream] {
            let error = at_once(answer, 1);
            assert!(matches!(error, OpenAiError::Answer { .. }), "{error}");
        }
    }
    let echoed = json!({"choices": [{"text": "a", "finish_reason": KEY}]}).to_string();
    let error = at_once(Answer::new(200, echoed), 1).to_string();
    assert_eq!(error, "a choice ended for the reason `[key]`");
    let echoed = json!({"choices": KEY}).to_string();
    assert!(
        at_once(Answer::new(200, echoed), 1)
            .to_string()
            .contains("[key]")
    );
}

#[test]
fn other_numbers_of_choices_are_errors() {
    let choices = |n: usize| {
        let choices: Vec<_> = (0..n)
            .map(|index| json!({"index": index, "text": "a", "finish_reason": "stop"}))
            .collect();
        json!({"choices": choices}).to_string()
    };
    for (asked, come) in [(1, 2), (2, 1), (2, 0), (3, 100)] {
        for answer in [
            Answer::new(200, choices(come)),
            Answer::events([choices(come), "[DONE]".into()]),
        ] {
            let error = at_once(answer, asked);
            let OpenAiError::Choices { expected, got } = error else {
                panic!("{error}");
            };
            assert_eq!(expected, asked);
            assert!(if come > asked {
                got > asked
            } else {
                got == come
            });
        }
    }
}

#[test]
fn stalling_ends_in_an_error() {
    let silent = Answer {
        pause: Duration::from_secs(60),
        ..Answer::events([event(0, "a", None)])
    };
    let impatient = |config: &mut OpenAiConfig| {
        config.read_timeout_ms = 100;
        config.retry.num_retries = 0;
    };
    let (error, _) = ask(silent, 1, impatient);
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .contains("silent for 100 ms")
    );
    // Not even a head.
    let mute = Answer {
        pause: Duration::from_secs(60),
        ..Answer::raw("")
    };
    let (error, _) = ask(mute, 1, impatient);
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .contains("silent for 100 ms")
    );
    // A byte now and then is no silence, so the whole request has a limit, too.
    for answer in [Answer::events(["x"]), Answer::new(200, "")] {
        let slow = Answer {
            pieces: vec![b" ".to_vec()],
            pause: Duration::from_millis(10),
            promised: None,
            is_endless: true,
            ..answer
        };
        let (error, _) = ask(slow, 1, |config| {
            config.request_timeout_ms = 300;
            config.retry.num_retries = 0;
        });
        let inner = error.source().unwrap().to_string();
        assert!(inner.contains("not whole after 300 ms"), "{inner}");
    }
}

#[test]
fn floods_are_not_kept() {
    let flood = |answer: Answer, piece: Vec<u8>| Answer {
        pieces: vec![piece],
        promised: None,
        is_endless: true,
        ..answer
    };
    let events = || Answer::events([""; 0]);
    let a_lot = "x".repeat(1 << 16);
    let floods = [
        flood(Answer::new(200, ""), a_lot.clone().into()),
        // A line without an end, empty lines, comments, events that never stop.
        flood(events(), a_lot.clone().into()),
        flood(events(), vec![b'\n'; 1 << 16]),
        flood(events(), format!(": {a_lot}\n").into()),
        flood(
            events(),
            format!("data: {}\n\n", event(0, &a_lot, None)).into(),
        ),
    ];
    for answer in floods {
        let (error, num_requests) = ask(answer, 1, |config| config.max_answer_bytes = 1 << 20);
        assert_eq!(error.to_string(), "the answer has more than 1048576 bytes");
        assert_eq!(num_requests, 1);
    }
    // A head without an end.
    let head = flood(Answer::raw(""), format!("x-a: {a_lot}\r\n").into());
    let mut raw = head;
    raw.pieces.insert(0, b"HTTP/1.1 200 X\r\n".to_vec());
    assert!(matches!(given_up(raw), OpenAiError::Connection { .. }));
}

#[test]
fn a_wait_beyond_all_patience_is_an_error() {
    let busy = Answer::new(429, "slow down").with_header("retry-after", "3600");
    let error = at_once(busy, 1).to_string();
    assert_eq!(
        error,
        "the server asks to wait 3600000 ms, the limit is 1000 ms"
    );
}

#[test]
fn the_failing_prompt_is_named_and_the_others_end() {
    let bad = crate::prompts().encode(&prompt("3")).unwrap();
    let server = Server::start(move |request, _| match request.input_ids() == bad {
        true => Answer::new(400, "not this one"),
        // Ends only if somebody stops listening.
        false => Answer {
            is_endless: true,
            pause: Duration::from_millis(5),
            ..Answer::events([event(0, "a", None)])
        },
    });
    let prompts: Vec<Prompt> = (0..6).map(|i| prompt(&i.to_string())).collect();
    let error = generator(config(server.base_url()))
        .generate(&prompts, &SamplingParams::greedy(4))
        .unwrap_err();
    assert!(error.to_string().starts_with("input 3: http"), "{error}");
    server.wait_until_deserted(server.requests().len() - 1);
}

#[test]
fn scores_that_do_not_come_are_errors() {
    let ids = crate::prompts().encode(&prompt("Hello there")).unwrap();
    assert!(ids.len() > 1);
    let none = json!({"choices": [{"text": "x", "finish_reason": "length", "logprobs": null}]});
    let one = json!({"choices": [{"text": "x", "logprobs": {"token_logprobs": [-1.0]}}]});
    let two = json!({"choices": [{"text": "x"}, {"text": "y"}]});
    let null = json!({"choices": [{"text": "x", "logprobs":
        {"token_logprobs": vec![serde_json::Value::Null; ids.len()]}}]});
    for (json, expected) in [
        (none, "no log-probabilities of the prompt"),
        (one, "no log-probabilities of the prompt"),
        (two, "1 choices were asked for, 2 came"),
        (null, "token 1 has no log-probability"),
        (json!({}), "it has no `choices`"),
    ] {
        for form in [PromptLogprobs::Echo, PromptLogprobs::PromptLogprobs] {
            let json = json.to_string();
            let server = Server::start(move |_, _| Answer::new(200, json.as_str()));
            let model = generator(OpenAiConfig {
                prompt_logprobs: form,
                ..config(server.base_url())
            });
            let error = cause(model.perplexity(&["Hello there"]).unwrap_err()).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
    let server = Server::start(|_, _| Answer::stream(&["a"]));
    let model = generator(config(server.base_url()));
    let error = cause(model.perplexity(&["Hello there"]).unwrap_err()).to_string();
    assert!(error.contains("it is a stream"), "{error}");
}
