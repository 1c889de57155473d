//! `Hub` against a real HTTP server on loopback, which serves a tiny repository well or badly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use grsap_core::{Generator as _, Message, Prompt, SamplingParams};
use grsap_model::{ChatModel, Hub, HubError, HubToken, LoadError};
use serde_json::json;

use server::{Answer, COMMIT, REPO, Server, listing, sha256};

const WEIGHTS: &str = "model.safetensors";

/// A chat model of two layers with a vocabulary of single letters.
fn files() -> BTreeMap<String, Vec<u8>> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lora_tiny/model");
    let mut vocab = serde_json::Map::new();
    for (id, token) in ["<pad>", "<s>", "</s>"].into_iter().enumerate() {
        vocab.insert(token.into(), id.into());
    }
    for byte in b'!'..=b'~' {
        vocab.insert(char::from(byte).into(), vocab.len().into());
    }
    vocab.insert("\u{120}".into(), vocab.len().into());
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                       "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0, "<pad>"), special(1, "<s>"), special(2, "</s>")],
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"});
    let template = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}";
    let read = |name: &str| std::fs::read(model.join(name)).unwrap();
    [
        ("config.json", read("config.json")),
        (WEIGHTS, read(WEIGHTS)),
        ("tokenizer.json", tokenizer.to_string().into_bytes()),
        ("tokenizer_config.json", config.to_string().into_bytes()),
        ("chat_template.jinja", template.into()),
        (
            "generation_config.json",
            json!({"eos_token_id": [2]}).to_string().into_bytes(),
        ),
        ("README.md", b"a tiny model".to_vec()),
        ("pytorch_model.bin", vec![0; 100]),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub::new(cache)
        .with_endpoint(server.endpoint())
        .with_retries(2)
}

fn blob(cache: &Path, name: &str) -> PathBuf {
    cache.join("models--tiny--model").join("blobs").join(name)
}

/// Asserts that the folder has exactly what the repository has under these names.
fn assert_fetched(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        if matches!(name.as_str(), "README.md" | "pytorch_model.bin") {
            assert!(!folder.join(name).exists(), "{name} was fetched");
        } else {
            assert!(
                std::fs::read(folder.join(name)).unwrap() == *bytes,
                "{name} differs"
            );
        }
    }
}

#[test]
fn a_model_is_fetched_once_and_then_works_offline() {
    let cache = tempfile::tempdir().unwrap();
    let files = files();
    let server = Server::honest(files.clone());
    let token = HubToken::new("hf_secret");
    let hub = hub(&server, cache.path()).with_token(token);
    let folder = hub.fetch(REPO, "main").unwrap();
    assert_fetched(&folder, &files);
    assert_eq!(
        folder,
        cache
            .path()
            .join("models--tiny--model/snapshots")
            .join(COMMIT)
    );
    let model = ChatModel::load(&folder, &Device::flex()).unwrap();
    let prompt = Prompt::chat([Message::user("Hi.")]);
    let answers = model
        .generate(&[prompt], &SamplingParams::greedy(4))
        .unwrap();
    assert!(answers[0].completions[0].num_tokens > 0);

    // The hub sees the token, the other host does not.
    for request in server.requests() {
        let is_hub = request.headers["host"].starts_with("127.0.0.1");
        let token = request.headers.get("authorization").map(String::as_str);
        assert_eq!(token, is_hub.then_some("Bearer hf_secret"), "{request:?}");
    }
    assert_eq!(server.requests_for("localhost").len(), 0);
    assert!(server.requests_for("pytorch_model.bin").is_empty());

    // Again: one question, what the branch is at. A commit: none at all. Offline: none.
    let before = server.requests().len();
    assert_eq!(hub.fetch(REPO, "main").unwrap(), folder);
    assert_eq!(server.requests().len(), before + 1);
    assert_eq!(hub.fetch(REPO, COMMIT).unwrap(), folder);
    let offline = hub.clone().with_offline(true);
    assert_eq!(offline.fetch(REPO, "main").unwrap(), folder);
    assert_eq!(server.requests().len(), before + 1);

    // Not there, and offline: the file is named.
    let message = offline.fetch(REPO, "other").unwrap_err().to_string();
    assert!(
        message.contains("tiny/model, revision `other`: config.json is not in"),
        "{message}"
    );
    std::fs::remove_file(folder.join(WEIGHTS)).unwrap();
    let error = offline.fetch(REPO, "main").unwrap_err();
    assert!(
        matches!(&error, HubError::NotCached { file, .. } if file == WEIGHTS),
        "{error}"
    );
    // What is missing alone is brought, and its content is still there.
    let before = server.requests().len();
    assert_fetched(&hub.fetch(REPO, "main").unwrap(), &files);
    assert_eq!(server.requests().len(), before + 1);

    // A hub that is gone.
    let gone = Hub::new(cache.path())
        .with_endpoint("http://127.0.0.1:9")
        .with_retries(0);
    assert_eq!(gone.fetch(REPO, "main").unwrap(), folder);
    let error = gone.fetch(REPO, "other").unwrap_err();
    assert!(
        matches!(error, HubError::Connection { attempts: 1, .. }),
        "{error}"
    );
}

/// The child process of the test below. Does nothing elsewhere.
#[test]
fn load_in_this_process() {
    if std::env::var_os("HF_ENDPOINT").is_some() && std::env::var_os("GRSAP_TEST_HUB").is_some() {
        match ChatModel::from_hub(REPO, "main", &Device::flex()) {
            Ok(model) => println!("loaded {}", model.decoder().config().hidden_size),
            Err(LoadError::Hub(error)) => println!("hub: {error}"),
            Err(error) => println!("{error}"),
        }
    }
}

#[test]
fn from_hub_follows_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::honest(files());
    let load = |offline: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "load_in_this_process", "--nocapture"])
            .env("GRSAP_TEST_HUB", "1")
            .env("HF_ENDPOINT", server.endpoint())
            .env("HF_HOME", home.path())
            .env("HF_HUB_OFFLINE", offline)
            .env_remove("HF_HUB_CACHE")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = load("1");
    assert!(
        text.contains("hub: tiny/model, revision `main`: config.json is not in"),
        "{text}"
    );
    assert!(server.requests().is_empty());
    assert!(load("0").contains("loaded 32"));
    assert!(load("1").contains("loaded 32"));
}

#[test]
fn a_broken_connection_is_gone_on_with() {
    let files = files();
    let cache = tempfile::tempdir().unwrap();
    let weights = files[WEIGHTS].clone();
    // Breaks three times, always after the next 30,000 bytes.
    let server = Server::start(
        files.clone(),
        Box::new(|request, number, mut answer| {
            if request.path.ends_with(WEIGHTS) && request.path.contains("content") && number < 3 {
                answer.cut = Some(30_000);
            }
            answer
        }),
    );
    // One try is enough: every one of them brings something.
    let hub = hub(&server, cache.path()).with_retries(1);
    assert_fetched(&hub.fetch(REPO, "main").unwrap(), &files);
    let starts: Vec<_> = server
        .requests_for("/content/model")
        .iter()
        .map(|request| request.headers.get("range").cloned())
        .collect();
    assert_eq!(starts.len(), 4);
    assert_eq!(starts[0], None);
    // Bytes that were on their way may be lost, no more.
    assert!(
        starts[1].as_ref().is_some_and(|s| s.as_str() > "bytes=1"),
        "{starts:?}"
    );
    assert!(!blob(cache.path(), &format!("{}.incomplete", sha256(&weights))).exists());
}

#[test]
fn what_came_before_a_failure_is_used_by_the_next_run() {
    let files = files();
    let cache = tempfile::tempdir().unwrap();
    let name = sha256(&files[WEIGHTS]);
    let broken = Server::start(
        files.clone(),
        Box::new(|request, number, mut answer| {
            if request.path.contains("content/model") {
                answer.cut = Some(if number == 0 { 50_000 } else { 0 });
            }
            answer
        }),
    );
    let error = hub(&broken, cache.path())
        .with_retries(1)
        .fetch(REPO, "main")
        .unwrap_err();
    assert!(
        matches!(error, HubError::Connection { attempts: 2, .. }),
        "{error}"
    );
    assert!(
        !blob(cache.path(), &name).exists(),
        "a part has the name of the whole"
    );
    let part = std::fs::read(blob(cache.path(), &format!("{name}.incomplete"))).unwrap();
    assert!(!part.is_empty() && files[WEIGHTS].starts_with(&part));

    let server = Server::honest(files.clone());
    assert_fetched(
        &hub(&server, cache.path()).fetch(REPO, "main").unwrap(),
        &files,
    );
    let requests = server.requests_for("/content/model");
    assert_eq!(
        requests[0].headers["range"],
        format!("bytes={}-", part.len())
    );
    // The small files had come before.
    assert_eq!(server.requests_for("/content/").len(), 1);
}

#[test]
fn a_server_that_ignores_ranges_is_understood() {
    let files = files();
    let whole = files[WEIGHTS].clone();
    for part in ["whole file", "wrong part", "no such part"] {
        let cache = tempfile::tempdir().unwrap();
        let whole = whole.clone();
        let server = Server::start(
            files.clone(),
            Box::new(move |request, number, mut answer| {
                if !request.path.contains("content/model") {
                    return answer;
                }
                match (number, part) {
                    (0, _) => answer.cut = Some(50_000),
                    (1, "whole file") => answer = Answer::new(200, whole.clone()),
                    (1, "wrong part") => {
                        answer = Answer::new(206, &whole[7..])
                            .with_header("content-range", "bytes 7-8/9");
                    }
                    (1, _) => answer = Answer::new(416, ""),
                    _ => {}
                }
                answer
            }),
        );
        let folder = hub(&server, cache.path()).fetch(REPO, "main");
        assert_fetched(&folder.unwrap_or_else(|e| panic!("{part}: {e}")), &files);
    }
}

#[test]
fn what_is_not_as_promised_never_gets_its_name() {
    let files = files();
    let right = files[WEIGHTS].clone();
    let name = sha256(&right);
    let mut flipped = right.clone();
    flipped[5000] ^= 1;
    let longer = [right.as_slice(), b"more"].concat();
    for (wrong, expected) in [(flipped, "SHA-256"), (longer, "bytes")] {
        let cache = tempfile::tempdir().unwrap();
        let server = Server::start(
            files.clone(),
            Box::new(move |request, number, answer| {
                match request.path.contains("content/model") && number == 0 {
                    true => Answer::new(200, wrong.clone()),
                    false => answer,
                }
            }),
        );
        let error = hub(&server, cache.path()).fetch(REPO, "main").unwrap_err();
        let HubError::Damaged {
            file,
            expected: promise,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert!(file == WEIGHTS && promise.contains(expected), "{error}");
        assert!(!blob(cache.path(), &name).exists());
        // The next try starts anew.
        assert_fetched(
            &hub(&server, cache.path()).fetch(REPO, "main").unwrap(),
            &files,
        );
        assert!(
            !server.requests_for("content/model")[1]
                .headers
                .contains_key("range")
        );
    }
    // A file that ends too early, every time, without the connection breaking.
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(
        files.clone(),
        Box::new(|request, number, mut answer| {
            if request.path.contains("content/model") {
                answer.body.truncate(if number == 0 { 1000 } else { 0 });
            }
            answer
        }),
    );
    let error = hub(&server, cache.path()).fetch(REPO, "main").unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
    assert!(!blob(cache.path(), &name).exists());
}

#[test]
fn slow_is_not_broken_but_silence_is() {
    let files = files();
    let cache = tempfile::tempdir().unwrap();
    // 14 parts, 60 ms each: longer than the patience in all, never at once.
    let slow = Server::start(
        files.clone(),
        Box::new(|request, _, mut answer| {
            if request.path.contains("content/model") {
                answer.pause = Duration::from_millis(60);
            }
            answer
        }),
    );
    let patient = hub(&slow, cache.path()).with_patience(Duration::from_millis(500));
    let start = Instant::now();
    assert_fetched(&patient.fetch(REPO, "main").unwrap(), &files);
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "the server was not slow"
    );
    assert_eq!(slow.requests_for("content/model").len(), 1);

    let cache = tempfile::tempdir().unwrap();
    let silent = Server::start(
        files.clone(),
        Box::new(|request, number, mut answer| {
            if request.path.contains("content/model") && number == 0 {
                answer.pause = Duration::from_secs(60);
            }
            answer
        }),
    );
    let start = Instant::now();
    let hub = hub(&silent, cache.path()).with_patience(Duration::from_millis(300));
    assert_fetched(&hub.fetch(REPO, "main").unwrap(), &files);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(silent.requests_for("content/model").len(), 2);
}

#[test]
fn refusals_say_what_to_do_and_never_the_token() {
    let cases: [(u16, &str, &str); 6] = [
        (404, "RepoNotFound", "not found at"),
        (401, "RepoNotFound", "not found at"),
        (404, "", "not found at"),
        (401, "GatedRepo", "access denied (status 401)"),
        (403, "GatedRepo", "access denied (status 403)"),
        (418, "", "status 418"),
    ];
    for (status, code, expected) in cases {
        let server = Server::start(
            files(),
            Box::new(move |_, _, _| Answer::new(status, "").with_header("x-error-code", code)),
        );
        for token in [None, HubToken::new("hf_secret")] {
            let cache = tempfile::tempdir().unwrap();
            let has_token = token.is_some();
            let hub = hub(&server, cache.path()).with_token(token);
            let error = hub.fetch(REPO, "main").unwrap_err();
            let message = format!("{error} {error:?} {hub:?}");
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("hf_secret"), "{message}");
            if status != 418 {
                assert_eq!(message.contains("(HF_TOKEN)"), !has_token, "{message}");
            }
            assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
        }
        // A refusal is not asked for again.
        assert_eq!(server.requests().len(), 2);
    }
    // The listing is open, the files are not.
    let server = Server::start(
        files(),
        Box::new(
            |request, _, answer| match request.path.contains("resolve") {
                true => Answer::new(403, "").with_header("x-error-code", "GatedRepo"),
                false => answer,
            },
        ),
    );
    let cache = tempfile::tempdir().unwrap();
    let error = hub(&server, cache.path()).fetch(REPO, "main").unwrap_err();
    assert!(
        matches!(error, HubError::Denied { status: 403, .. }),
        "{error}"
    );
}

#[test]
fn a_busy_hub_is_asked_again() {
    let files = files();
    let server = Server::start(
        files.clone(),
        Box::new(|_, number, answer| match number {
            0 => Answer::new(503, ""),
            1 => Answer::new(429, ""),
            _ => answer,
        }),
    );
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, cache.path()).with_retries(4);
    assert_fetched(&hub.fetch(REPO, "main").unwrap(), &files);
}

#[test]
fn redirections_end() {
    for location in [
        Some("/api/models/tiny/model/revision/main?blobs=true"),
        None,
    ] {
        let server = Server::start(
            files(),
            Box::new(move |_, _, _| {
                let answer = Answer::new(302, "");
                match location {
                    Some(location) => answer.with_header("location", location),
                    None => answer,
                }
            }),
        );
        let cache = tempfile::tempdir().unwrap();
        let error = hub(&server, cache.path())
            .with_retries(0)
            .fetch(REPO, "main")
            .unwrap_err();
        let is_right = matches!(
            error,
            HubError::Connection { .. } | HubError::Status { status: 302, .. }
        );
        assert!(is_right, "{error}");
        assert!(server.requests().len() < 20);
    }
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let good = listing(&files());
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = good.clone();
        change(&mut json);
        json.to_string()
    };
    let config = 2; // the place of config.json among the names, which are sorted
    assert_eq!(good["siblings"][config]["rfilename"], "config.json");
    let cases = [
        ("not JSON".to_owned(), "expected"),
        ("{}".to_owned(), "missing field"),
        (
            with(&|json| json["sha"] = "../../../outside".into()),
            "is not a commit",
        ),
        (
            with(&|json| json["siblings"][config]["blobId"] = "../../outside".into()),
            "no hash",
        ),
        (
            with(&|json| json["siblings"] = json!([])),
            "has no config.json",
        ),
        (
            with(&|json| {
                let siblings = json["siblings"].as_array_mut().unwrap();
                siblings.retain(|file| file["rfilename"] != WEIGHTS);
            }),
            "has no model.safetensors; it has: README.md, chat_template.jinja",
        ),
    ];
    for (body, expected) in cases {
        let server = Server::start(
            files(),
            Box::new(
                move |request, _, answer| match request.path.starts_with("/api/") {
                    true => Answer::new(200, body.clone()),
                    false => answer,
                },
            ),
        );
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&server, cache.path())
            .fetch(REPO, "main")
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        assert!(!cache.path().join("outside").exists());
    }
    let cache = tempfile::tempdir().unwrap();
    let server = Server::honest(files());
    for (repo, revision) in [
        ("../x", "main"),
        ("a/b/c", "main"),
        (REPO, "../../x"),
        (REPO, ""),
    ] {
        let error = hub(&server, cache.path())
            .fetch(repo, revision)
            .unwrap_err();
        assert!(matches!(error, HubError::Name { .. }), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn shards_are_fetched_by_their_index() {
    let mut files = files();
    let weights = files.remove(WEIGHTS).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let mut map = serde_json::Map::new();
    for (number, name) in ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
        .iter()
        .enumerate()
    {
        let part = tensors
            .iter()
            .filter(|(tensor, _)| tensor.len() % 2 == number);
        let part: Vec<_> = part.collect();
        map.extend(
            part.iter()
                .map(|(tensor, _)| ((*tensor).to_owned(), json!(name))),
        );
        files.insert(
            (*name).to_owned(),
            safetensors::serialize(part, None).unwrap(),
        );
    }
    let index = |map: &serde_json::Map<String, serde_json::Value>| {
        json!({"metadata": {}, "weight_map": map})
            .to_string()
            .into_bytes()
    };
    files.insert("model.safetensors.index.json".into(), index(&map));
    // Weights that the index does not name are not fetched.
    files.insert("other.safetensors".into(), vec![0; 9]);
    let server = Server::honest(files.clone());
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&server, cache.path()).fetch(REPO, "refs/pr/1").unwrap();
    assert!(
        server.requests()[0]
            .path
            .contains("/revision/refs%2Fpr%2F1?")
    );
    assert!(
        files.remove("other.safetensors").is_some() && !folder.join("other.safetensors").exists()
    );
    assert_fetched(&folder, &files);
    ChatModel::load(&folder, &Device::flex()).unwrap();
    let offline = hub(&server, cache.path()).with_offline(true);
    assert_eq!(offline.fetch(REPO, "refs/pr/1").unwrap(), folder);
    std::fs::remove_file(folder.join("model-2-of-2.safetensors")).unwrap();
    let error = offline.fetch(REPO, "refs/pr/1").unwrap_err();
    assert!(matches!(&error, HubError::NotCached { file, .. } if file.contains("2-of-2")));

    // A shard that is not in the repository, and one that is no file name.
    for (shard, expected) in [
        ("absent.safetensors", "has no absent"),
        ("../x", "not a file name"),
    ] {
        let mut map = map.clone();
        map.insert("more".into(), json!(shard));
        files.insert("model.safetensors.index.json".into(), index(&map));
        let server = Server::honest(files.clone());
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&server, cache.path())
            .fetch(REPO, "main")
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn two_at_once_fetch_once() {
    let files = files();
    let server = Server::start(
        files.clone(),
        Box::new(|request, _, mut answer| {
            if request.path.contains("content/model") {
                answer.pause = Duration::from_millis(30);
            }
            answer
        }),
    );
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, cache.path());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_fetched(&hub.fetch(REPO, "main").unwrap(), &files));
        }
    });
    assert_eq!(server.requests_for("content/model").len(), 1);
    // Nothing is left over.
    let blobs = std::fs::read_dir(blob(cache.path(), "x").parent().unwrap()).unwrap();
    let names: Vec<_> = blobs.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
}
