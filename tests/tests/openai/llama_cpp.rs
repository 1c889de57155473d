//! llama.cpp's own server, from a Python package, with SmolLM2.
//!
//! The file that is served has the weights of the Q4_1 file as f32: llama.cpp rounds the other
//! factor of a quantised product to 8 bits, and would then give other answers.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use grsap_core::{
    FinishReason, Generator as _, ModelError, Perplexity as _, Prompt, SamplingConfig,
    SamplingParams,
};
use grsap_model::{ApiKey, GgufFile, OpenAiError, OpenAiGenerator};

use crate::{GreedyCase, assets, config, generator, greedy_cases, prompts, smollm2};

const KEY: &str = "sk-llama";

/// A margin between two logits that rounding may turn.
const NEAR_TIE: f64 = 1e-3;

/// Ends when this process does: its standard input is a pipe from here.
struct Llama {
    base_url: String,
    _process: Child,
}

fn llama() -> &'static Llama {
    static LLAMA: OnceLock<Llama> = OnceLock::new();
    LLAMA.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model.gguf");
        write_f32(&assets().smollm2().unwrap(), &model);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai/llama_cpp.py");
        let mut process = Command::new("python3")
            .arg("-B")
            .arg(script)
            .args([assets().llama_cpp().unwrap(), model])
            .arg(KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("listening ")?.to_owned()));
        // Whatever else it says must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        // The file goes with the folder; llama.cpp has it open.
        Llama {
            base_url: format!("{}/v1", address.expect("llama.cpp did not start")),
            _process: process,
        }
    })
}

/// Copies a GGUF file with all tensors as f32. The metadata stays as it is.
fn write_f32(from: &Path, to: &Path) {
    let file = GgufFile::open(from).unwrap();
    let bytes = std::fs::read(from).unwrap();
    let mut out = BufWriter::new(File::create(to).unwrap());
    out.write_all(&bytes[..metadata_len(&bytes)]).unwrap();
    let mut offset = 0_u64;
    let mut written = metadata_len(&bytes);
    for tensor in file.tensors() {
        let mut info = (tensor.name.len() as u64).to_le_bytes().to_vec();
        info.extend(tensor.name.as_bytes());
        info.extend((tensor.shape.len() as u32).to_le_bytes());
        // The length of a row comes first in the file.
        let sizes = tensor.shape.iter().rev();
        info.extend(sizes.flat_map(|size| (*size as u64).to_le_bytes()));
        info.extend(0_u32.to_le_bytes()); // f32
        info.extend(offset.to_le_bytes());
        out.write_all(&info).unwrap();
        written += info.len();
        let num_bytes = 4 * tensor.shape.iter().product::<usize>() as u64;
        offset += num_bytes.next_multiple_of(32);
    }
    out.write_all(&vec![0; written.next_multiple_of(32) - written])
        .unwrap();
    for tensor in file.tensors() {
        let values = file.read_f32(&tensor.name).unwrap();
        let mut data: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        data.resize(data.len().next_multiple_of(32), 0);
        out.write_all(&data).unwrap();
    }
    out.flush().unwrap();
}

/// Where the metadata of a GGUF file ends.
fn metadata_len(bytes: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let kind = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let text = |at: usize| at + 8 + number(at);
    let size = |kind: u32| match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    };
    let mut at = 24;
    for _ in 0..number(16) {
        at = text(at);
        let value = kind(at);
        at += 4;
        at = match value {
            8 => text(at),
            9 if kind(at) == 8 => (0..number(at + 4)).fold(at + 12, |at, _| text(at)),
            9 => at + 12 + number(at + 4) * size(kind(at)),
            other => at + size(other),
        };
    }
    at
}

fn remote() -> OpenAiGenerator {
    generator(config(llama().base_url.clone())).with_api_key(ApiKey::new(KEY))
}

/// Asserts that these are the greedy answers, but for near ties; returns how many are the same.
fn check(cases: &[GreedyCase], prompts: &[Prompt], max_new_tokens: usize) -> usize {
    let answers = remote()
        .generate(prompts, &SamplingParams::greedy(max_new_tokens))
        .unwrap();
    assert_eq!(answers.len(), cases.len());
    let mut num_same = 0;
    for (case, answer) in cases.iter().zip(answers) {
        let completion = &answer.completions[0];
        if completion.text == case.text {
            num_same += 1;
            assert_eq!(
                completion.num_tokens,
                case.output_ids.len(),
                "{}",
                case.name
            );
            let is_eos = case.output_ids.last() == Some(&2);
            let end = if is_eos {
                FinishReason::Eos
            } else {
                FinishReason::Length
            };
            assert_eq!(completion.finish_reason, end, "{}", case.name);
            continue;
        }
        let name = &case.name;
        let tie = case.margins.iter().position(|&margin| margin < NEAR_TIE);
        let step = tie.unwrap_or_else(|| panic!("{name}: {completion:?}, not {:?}", case.text));
        let ids = [&case.output_ids[..step], &[case.runner_up_ids[step]]].concat();
        let until = crate::prompts().tokenizer().decode(&ids, true).unwrap();
        assert!(
            completion.text.starts_with(&until),
            "{name}: {completion:?}"
        );
    }
    num_same
}

#[test]
fn greedy_answers_are_those_of_transformers_and_of_our_engine() {
    let mut cases = greedy_cases("more_cases.json");
    cases.truncate(12);
    let chats: Vec<Prompt> = cases
        .iter()
        .map(|c| Prompt::chat(c.messages.clone()))
        .collect();
    for (case, chat) in cases.iter().zip(&chats) {
        assert_eq!(
            prompts().encode(chat).unwrap(),
            case.input_ids,
            "{}",
            case.name
        );
    }
    assert!(check(&cases, &chats, 32) >= 11);
    // The same prompts to our engine, in the same words.
    let remote = remote()
        .generate(&chats[..4], &SamplingParams::greedy(32))
        .unwrap();
    let local = smollm2()
        .generate(&chats[..4], &SamplingParams::greedy(32))
        .unwrap();
    for (i, (remote, local)) in remote.iter().zip(&local).enumerate() {
        if cases[i].margins.iter().all(|&margin| margin >= NEAR_TIE) {
            assert_eq!(remote, local);
        }
    }
}

#[test]
fn open_turns_go_on_where_they_stand() {
    let cases = greedy_cases("open_turns.json");
    let open: Vec<Prompt> = cases
        .iter()
        .map(|c| Prompt::prefilled(c.messages.clone()))
        .collect();
    assert!(check(&cases, &open, 24) + 1 >= cases.len());
}

#[test]
fn stop_texts_end_answers_where_they_end_ours() {
    let cases = greedy_cases("more_cases.json");
    let chats: Vec<Prompt> = cases[..4]
        .iter()
        .map(|c| Prompt::chat(c.messages.clone()))
        .collect();
    let params = SamplingParams::new(SamplingConfig {
        stop: vec![",".into(), ".".into()],
        ..SamplingConfig::greedy(32)
    })
    .unwrap();
    let remote = remote().generate(&chats, &params).unwrap();
    let local = smollm2().generate(&chats, &params).unwrap();
    let mut num_stopped = 0;
    for (remote, local) in remote.iter().zip(&local) {
        let (remote, local) = (&remote.completions[0], &local.completions[0]);
        assert_eq!(remote.text, local.text);
        assert_eq!(remote.finish_reason, local.finish_reason);
        num_stopped += usize::from(remote.finish_reason == FinishReason::Stop);
    }
    assert!(num_stopped > 0);
}

#[test]
fn samples_have_seeds() {
    let prompt = [Prompt::prefilled(
        greedy_cases("open_turns.json")[0].messages.clone(),
    )];
    let params = |seed| {
        SamplingParams::new(SamplingConfig {
            max_new_tokens: 12,
            n: 3,
            seed,
            ..Default::default()
        })
        .unwrap()
    };
    let texts = |seed| {
        let generation = remote().generate(&prompt, &params(seed)).unwrap().remove(0);
        let texts = generation.completions.into_iter().map(|c| c.text);
        texts.collect::<std::collections::BTreeSet<_>>()
    };
    let first = texts(1);
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!(texts(1), first);
    assert!(texts(2).is_disjoint(&first));
}

#[test]
fn its_refusals_are_errors() {
    let cause = |error: ModelError| {
        let ModelError::Backend { source, .. } = error else {
            panic!("{error}");
        };
        *source.downcast::<OpenAiError>().unwrap()
    };
    let stranger = generator(config(llama().base_url.clone())).with_api_key(ApiKey::new("sk-no"));
    let hello = [Prompt::Text("Hello".into())];
    let params = SamplingParams::greedy(2);
    let error = cause(stranger.generate(&hello, &params).unwrap_err());
    assert!(
        matches!(
            error,
            OpenAiError::Denied {
                status: 401,
                has_key: true,
                ..
            }
        ),
        "{error}"
    );
    let long = [Prompt::Text("word ".repeat(5000))];
    let error = cause(remote().generate(&long, &params).unwrap_err());
    let OpenAiError::Refused {
        status: 400,
        message,
    } = error
    else {
        panic!("{error}");
    };
    assert!(message.contains("context size"), "{message}");
    // It has no log-probabilities of prompts.
    let error = cause(remote().perplexity(&["The cat sat."]).unwrap_err());
    assert!(matches!(error, OpenAiError::NoPromptLogprobs), "{error}");
}
