//! SmolLM2-135M-Instruct and all-MiniLM-L6-v2, the real files, against transformers and
//! sentence-transformers. The fixtures and the scripts that made them are in `fixtures/`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

#[path = "../../crates/grsap-replay/examples/support/assets.rs"]
mod assets;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use grsap_core::{
    Embedder, FinishReason, Generator, Message, Perplexity, Prompt, SamplingConfig, SamplingParams,
    Turn, cosine,
};
use grsap_model::{ChatModel, DecoderInput, EngineConfig, SentenceEncoder, WeightFormat};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn assets() -> assets::Assets {
    assets::Assets::open(None, Arc::new(())).unwrap()
}

fn smollm2() -> &'static ChatModel {
    static MODEL: OnceLock<ChatModel> = OnceLock::new();
    MODEL.get_or_init(|| ChatModel::load(assets().smollm2().unwrap(), &Device::flex()).unwrap())
}

fn fixture<T: DeserializeOwned>(path: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct GreedyCase {
    name: String,
    messages: Vec<Message>,
    #[serde(default)]
    prompt: String,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    text: String,
    margins: Vec<f64>,
    runner_up_ids: Vec<u32>,
}

impl GreedyCase {
    /// What may stand in place of the answer: where the best token is no further ahead of the
    /// second than rounding reaches, the answer may go on with the second, and then anyhow.
    fn allows(&self, model: &ChatModel, text: &str) -> bool {
        let tie = self.margins.iter().position(|&margin| margin < NEAR_TIE);
        text == self.text
            || tie.is_some_and(|step| {
                let ids = [&self.output_ids[..step], &[self.runner_up_ids[step]]].concat();
                text.starts_with(&model.tokenizer().decode(&ids, true).unwrap())
            })
    }
}

/// A margin between two logits that rounding may turn.
const NEAR_TIE: f64 = 1e-3;

#[test]
fn greedy_answers_are_those_of_transformers_token_for_token() {
    // Of the 5,000 choices one is a near tie (6e-5).
    let checked = [
        check_greedy("smollm2_greedy/cases.json", 64, 0),
        check_greedy("smollm2_greedy/more_cases.json", 32, 1),
    ];
    assert_eq!(checked, [32, 68]);
}

/// Checks the answers of a file, of which some have a near tie; returns how many there are.
fn check_greedy(path: &str, max_new_tokens: usize, num_near_ties: usize) -> usize {
    let model = smollm2();
    let cases: Cases<GreedyCase> = fixture(path);
    let near = |case: &&GreedyCase| case.margins.iter().any(|&margin| margin < NEAR_TIE);
    assert_eq!(cases.cases.iter().filter(near).count(), num_near_ties);
    let prompts: Vec<Prompt> = cases
        .cases
        .iter()
        .map(|case| Prompt::chat(case.messages.clone()))
        .collect();
    let answers = model
        .generate(&prompts, &SamplingParams::greedy(max_new_tokens))
        .unwrap();
    for ((case, prompt), answer) in cases.cases.iter().zip(&prompts).zip(answers) {
        let name = &case.name;
        let rendered = model
            .template()
            .unwrap()
            .render(&case.messages, Turn::NewAssistant)
            .unwrap();
        assert_eq!(rendered, case.prompt, "{name}: rendered prompt");
        assert_eq!(
            model.encode(prompt).unwrap(),
            case.input_ids,
            "{name}: prompt tokens"
        );
        let completion = &answer.completions[0];
        assert!(
            case.allows(model, &completion.text),
            "{name}: {:?}, not {:?}",
            completion.text,
            case.text
        );
        if completion.text != case.text {
            continue;
        }
        assert_eq!(
            completion.num_tokens,
            case.output_ids.len(),
            "{name}: number of tokens"
        );
        let ended = case.output_ids.last() == Some(&2);
        assert_eq!(
            completion.finish_reason == FinishReason::Eos,
            ended,
            "{name}: end"
        );
    }
    cases.cases.len()
}

#[derive(Deserialize)]
struct NllCase {
    name: String,
    num_tokens: usize,
    nll_sum: f64,
}

/// All prompts and answers of the greedy fixture.
fn greedy_texts() -> Vec<(String, Vec<u32>)> {
    let files = ["cases", "more_cases"].map(|name| format!("smollm2_greedy/{name}.json"));
    let texts = files.map(|path| fixture::<Cases<GreedyCase>>(&path).cases);
    let ids = |case: GreedyCase| (case.name, [case.input_ids, case.output_ids].concat());
    texts.into_iter().flatten().map(ids).collect()
}

/// The negative log-likelihood of all tokens but the first.
fn nll_sum(model: &ChatModel, ids: &[u32]) -> f64 {
    let input = DecoderInput::packed([ids]);
    let hidden = model.decoder().hidden_states(&input, None).unwrap();
    let hidden = hidden.narrow(0, 0, ids.len() - 1);
    let losses = model.decoder().nll(hidden, &ids[1..]).unwrap();
    let losses: Vec<f32> = losses.into_data().try_into_vec().unwrap();
    losses.iter().map(|&x| f64::from(x)).sum()
}

#[test]
fn the_perplexity_of_seven_thousand_tokens_is_that_of_transformers() {
    let nll: Cases<NllCase> = fixture("smollm2_greedy/nll.json");
    let texts = greedy_texts();
    assert_eq!(texts.len(), nll.cases.len());
    let (mut got, mut want, mut num_targets) = (0.0, 0.0, 0);
    for ((name, ids), expected) in texts.iter().zip(&nll.cases) {
        assert_eq!((name, ids.len()), (&expected.name, expected.num_tokens));
        let sum = nll_sum(smollm2(), ids);
        let error = (sum / expected.nll_sum - 1.0).abs();
        assert!(error < 1e-4, "{name}: off by {error:.1e}");
        got += sum;
        want += expected.nll_sum;
        num_targets += ids.len() - 1;
    }
    assert!(num_targets > 7_000);
    let error = ((got - want) / num_targets as f64).exp_m1().abs();
    assert!(error < 1e-5, "perplexity is off by {error:.1e}");
}

/// Rounding is all that `bf16` changes: half the memory, nearly the same perplexity, and still the
/// same text whatever else is in the batch.
#[test]
fn bf16_weights_are_half_as_large_and_nearly_as_good() {
    let path = assets().smollm2().unwrap();
    let model = ChatModel::load_as(path, &Device::flex(), WeightFormat::Bf16).unwrap();
    let bytes = |model: &ChatModel| -> usize {
        let decoder = model.decoder();
        let projections = decoder.projections().map(|(_, p)| p.weight().num_bytes());
        projections.chain([decoder.head_weight().num_bytes()]).sum()
    };
    assert_eq!(2 * bytes(&model), bytes(smollm2()));

    let (mut half, mut full, mut num_targets) = (0.0, 0.0, 0);
    for (_, ids) in greedy_texts() {
        half += nll_sum(&model, &ids);
        full += nll_sum(smollm2(), &ids);
        num_targets += ids.len() - 1;
    }
    let [half, full] = [half, full].map(|sum| (sum / num_targets as f64).exp());
    println!("perplexity in bf16 {half:.5}, in f32 {full:.5}");
    assert!(
        (half / full - 1.0).abs() < 5e-3,
        "perplexity {half}, in f32 {full}"
    );

    let questions = ["Name a colour.", "Why is the sky blue?", "Count to five."];
    let prompts = questions.map(|text| Prompt::chat([Message::user(text)]));
    let params = SamplingParams::greedy(16);
    let together = model.generate(&prompts, &params).unwrap();
    for (prompt, answer) in prompts.chunks(1).zip(together.chunks(1)) {
        assert_eq!(model.generate(prompt, &params).unwrap(), answer);
    }
}

/// A quarter of the memory of `f32`, and what that costs.
#[test]
fn int8_weights_are_a_quarter_as_large_and_nearly_as_good() {
    let path = assets().smollm2().unwrap();
    let model = ChatModel::load_as(path, &Device::flex(), WeightFormat::Int8).unwrap();
    let bytes = |model: &ChatModel| -> usize {
        let decoder = model.decoder();
        let projections = decoder.projections().map(|(_, p)| p.weight().num_bytes());
        projections.chain([decoder.head_weight().num_bytes()]).sum()
    };
    assert_eq!(64 * bytes(&model), 17 * bytes(smollm2()));

    let (mut bytes, mut full, mut num_targets) = (0.0, 0.0, 0);
    for (_, ids) in greedy_texts() {
        bytes += nll_sum(&model, &ids);
        full += nll_sum(smollm2(), &ids);
        num_targets += ids.len() - 1;
    }
    let [bytes, full] = [bytes, full].map(|sum| (sum / num_targets as f64).exp());
    println!("perplexity in int8 {bytes:.5}, in f32 {full:.5}");
    assert!(
        (bytes / full - 1.0).abs() < 2e-2,
        "perplexity {bytes}, in f32 {full}"
    );

    let questions = ["Name a colour.", "Why is the sky blue?", "Count to five."];
    let prompts = questions.map(|text| Prompt::chat([Message::user(text)]));
    let params = SamplingParams::greedy(16);
    let together = model.generate(&prompts, &params).unwrap();
    for (prompt, answer) in prompts.chunks(1).zip(together.chunks(1)) {
        assert_eq!(model.generate(prompt, &params).unwrap(), answer);
    }
}

#[derive(Deserialize)]
struct OpenCase {
    name: String,
    messages: Vec<Message>,
    prompt: String,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    text: String,
}

#[test]
fn open_turns_are_continued_as_in_transformers() {
    let model = smollm2();
    let cases: Cases<OpenCase> = fixture("smollm2_greedy/open_turns.json");
    for case in cases.cases {
        let prompt = Prompt::prefilled(case.messages.clone());
        let rendered = model
            .template()
            .unwrap()
            .render(&case.messages, Turn::ContinueLast);
        assert_eq!(rendered.unwrap(), case.prompt, "{}", case.name);
        assert_eq!(
            model.encode(&prompt).unwrap(),
            case.input_ids,
            "{}",
            case.name
        );
        let answers = model
            .generate(&[prompt], &SamplingParams::greedy(24))
            .unwrap();
        let completion = &answers[0].completions[0];
        assert_eq!(completion.text, case.text, "{}", case.name);
        assert_eq!(
            completion.num_tokens,
            case.output_ids.len(),
            "{}",
            case.name
        );
    }
}

#[derive(Deserialize)]
struct LogitCase {
    name: String,
    input_ids: Vec<u32>,
    top_ids: Vec<usize>,
    top_logits: Vec<f32>,
}

#[test]
fn logits_are_those_of_transformers() {
    let decoder = smollm2().decoder();
    let cases: Cases<LogitCase> = fixture("smollm2_logits/logits.json");
    // All cases in one batch without padding.
    let input = DecoderInput::packed(cases.cases.iter().map(|case| case.input_ids.as_slice()));
    let hidden = decoder.hidden_states(&input, None).unwrap();
    let mut end = 0;
    for case in &cases.cases {
        end += case.input_ids.len();
        let logits = decoder.logits(hidden.clone(), &[end - 1]).unwrap();
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        for (&id, want) in case.top_ids.iter().zip(&case.top_logits) {
            let got = logits[id];
            let error = (got - want).abs() / want.abs();
            assert!(
                error < 1e-4,
                "{}: logit {id} is {got}, not {want}",
                case.name
            );
        }
    }
}

#[derive(Deserialize)]
struct PerplexityCase {
    name: String,
    text: String,
    perplexity: Option<f64>,
    same_ids_in_transformers: Option<bool>,
}

#[test]
fn perplexities_are_those_of_transformers() {
    let cases: Cases<PerplexityCase> = fixture("smollm2_logits/perplexity.json");
    let texts: Vec<&str> = cases.cases.iter().map(|case| case.text.as_str()).collect();
    let got = smollm2().perplexity(&texts).unwrap();
    let mut compared = 0;
    for (case, got) in cases.cases.iter().zip(got) {
        match case.perplexity {
            None => assert_eq!(got, f64::INFINITY, "{}", case.name),
            Some(want) => {
                let error = (got / want - 1.0).abs();
                let note = case.same_ids_in_transformers;
                assert!(error < 1e-4, "{}: {got}, not {want} ({note:?})", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 20);
}

#[test]
fn a_sample_depends_on_seed_prompt_and_index_alone() {
    let model = smollm2();
    let prompts: Vec<Prompt> = [
        "Tell me about the sea.",
        "Name a colour.",
        "Why is it dark?",
    ]
    .map(|text| Prompt::chat([Message::user(text)]))
    .to_vec();
    let config = SamplingConfig {
        n: 5,
        max_new_tokens: 12,
        seed: 3,
        ..Default::default()
    };
    let params = SamplingParams::new(config.clone()).unwrap();
    let together = model.generate(&prompts, &params).unwrap();
    let narrow = EngineConfig {
        max_batch: 2,
        max_prefill_tokens: 1,
        ..EngineConfig::default()
    };
    let narrow = model
        .clone()
        .with_engine(narrow)
        .generate(&prompts, &params)
        .unwrap();
    assert_eq!(together, narrow, "the batch size changed a text");
    let alone = model.generate(&prompts[2..], &params).unwrap();
    assert_eq!(together[2..], alone, "the other prompts changed a text");
    let fewer = SamplingParams::new(SamplingConfig {
        n: 2,
        ..config.clone()
    })
    .unwrap();
    let fewer = model.generate(&prompts, &fewer).unwrap();
    assert_eq!(
        together[1].completions[..2],
        fewer[1].completions,
        "n changed a text"
    );
    let other = SamplingParams::new(SamplingConfig { seed: 4, ..config }).unwrap();
    assert_ne!(together, model.generate(&prompts, &other).unwrap());
}

#[test]
fn neither_batch_nor_threads_nor_memory_change_a_text() {
    let model = smollm2();
    let prompts: Vec<Prompt> = (0..9)
        .map(|i| Prompt::chat([Message::user(format!("Tell me {i} things about rivers."))]))
        .collect();
    let config = SamplingConfig {
        n: 4,
        max_new_tokens: 6,
        top_p: 0.95,
        temperature: 0.8,
        seed: 11,
        ..Default::default()
    };
    let params = SamplingParams::new(config).unwrap();
    let expected = model.generate(&prompts, &params).unwrap();
    let backwards: Vec<Prompt> = prompts.iter().rev().cloned().collect();
    let mut order = model.generate(&backwards, &params).unwrap();
    order.reverse();
    assert_eq!(order, expected, "the order changed a text");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.unwrap();
        for max_batch in [1, 8, 32] {
            let engine = EngineConfig {
                max_batch,
                ..EngineConfig::default()
            };
            let model = model.clone().with_engine(engine);
            let got = pool.install(|| model.generate(&prompts, &params)).unwrap();
            assert_eq!(got, expected, "{threads} threads, {max_batch} at a time");
        }
    }
    // Place for one prompt and one sample, no more.
    let row = grsap_model::KvCache::bytes_per_row(model.decoder().config());
    let longest = prompts.iter().map(|p| model.encode(p).unwrap().len()).max();
    let least = (longest.unwrap() + 6) * row;
    let narrow = |max_memory| {
        model.clone().with_engine(EngineConfig {
            max_memory: Some(max_memory),
            ..EngineConfig::default()
        })
    };
    let got = narrow(least).generate(&prompts, &params).unwrap();
    assert_eq!(got, expected, "the memory changed a text");
    let error = narrow(least - 1).generate(&prompts, &params).unwrap_err();
    let limit = format!("the limit is {}", longest.unwrap() - 1);
    assert!(error.to_string().ends_with(&limit), "{error}");
}

#[test]
fn a_stop_text_ends_the_answer_at_once() {
    let model = smollm2();
    let prompt = Prompt::chat([Message::user("What is the capital of France?")]);
    let full = model
        .generate(std::slice::from_ref(&prompt), &SamplingParams::greedy(48))
        .unwrap();
    let full = &full[0].completions[0];
    let config = SamplingConfig {
        stop: vec!["of France".into(), "is Par".into()],
        ..SamplingConfig::greedy(48)
    };
    let cut = model
        .generate(&[prompt], &SamplingParams::new(config).unwrap())
        .unwrap();
    let cut = &cut[0].completions[0];
    assert_eq!(cut.finish_reason, FinishReason::Stop);
    assert!(full.text.starts_with(&cut.text) && !cut.text.contains("of France"));
    assert!(cut.num_tokens < full.num_tokens);
}

#[test]
fn too_long_a_prompt_is_named() {
    let prompts = ["short".to_owned(), "word ".repeat(9000)].map(Prompt::Text);
    let error = smollm2()
        .generate(&prompts, &SamplingParams::greedy(8))
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("input 1 has 900") && error.ends_with("the limit is 8184"),
        "{error}"
    );
}

#[derive(Deserialize)]
struct EmbeddingCase {
    text: String,
    embedding: Vec<f32>,
}

#[test]
fn embeddings_are_those_of_sentence_transformers() {
    let encoder = SentenceEncoder::load(assets().minilm().unwrap(), &Device::flex()).unwrap();
    let cases: Cases<EmbeddingCase> = fixture("minilm_embeddings/embeddings.json");
    let texts: Vec<&str> = cases.cases.iter().map(|case| case.text.as_str()).collect();
    let got = encoder.embed(&texts).unwrap();
    for (case, got) in cases.cases.iter().zip(got.chunks_exact(encoder.dim())) {
        for (got, want) in got.iter().zip(&case.embedding) {
            assert!(
                (got - want).abs() < 1e-4,
                "{:?}: {got}, not {want}",
                case.text
            );
        }
        assert!((cosine(got, got) - 1.0).abs() < 1e-5);
    }
}
