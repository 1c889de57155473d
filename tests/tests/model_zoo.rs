//! Tiny random models of every family against transformers and PEFT: `fixtures/model_zoo`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a failure here is the message

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use grsap_kernels::Segment;
use grsap_lora::{
    AdapterDtype, AdapterFactors, LossConfig, SftExample, detach, load_adapter, loss_gradients,
    merge, save_adapter,
};
use grsap_model::{
    Decoder, DecoderConfig, DecoderInput, GgufFile, GgufWeights, KvCache, SafetensorsFile,
    TensorSource,
};
use serde::Deserialize;

/// The models whose weights are stored in single precision; these have a LoRA step.
const F32: [&str; 7] = [
    "llama_f32",
    "mistral_f32",
    "qwen2_f32",
    "qwen3_f32",
    "olmo2_f32",
    "gemma2_f32",
    "gpt2_f32",
];

/// The models that are stored in bf16; these have a GGUF file too.
const BF16: [&str; 7] = [
    "llama_bf16",
    "mistral_bf16",
    "qwen2_bf16",
    "qwen3_bf16",
    "olmo2_bf16",
    "gemma2_bf16",
    "gpt2_bf16",
];

fn folder(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join("model_zoo").join(case)
}

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Vec<u32>>,
    mean_nll: Vec<f64>,
    greedy: Vec<Vec<u32>>,
    smallest_margins: Vec<f64>,
    lora: Option<LoraStep>,
}

#[derive(Deserialize)]
struct LoraStep {
    loss: f64,
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    input_ids: Vec<u32>,
    labels: Vec<i64>,
}

fn expected(case: &str) -> Expected {
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn config(case: &str) -> DecoderConfig {
    DecoderConfig::from_hf_file(&folder(case).join("config.json")).unwrap()
}

fn decoder_with(case: &str, config: &DecoderConfig) -> Decoder {
    // Beside it lie other safetensors files.
    let weights = SafetensorsFile::open(folder(case).join("model.safetensors")).unwrap();
    Decoder::load(&weights, config, &Device::flex()).unwrap()
}

fn decoder(case: &str) -> Decoder {
    decoder_with(case, &config(case))
}

fn gguf_decoder(case: &str) -> Decoder {
    let file = GgufFile::open(folder(case).join("model.gguf")).unwrap();
    let config = DecoderConfig::from_gguf(&file).unwrap();
    let weights = GgufWeights::new(file.into()).unwrap();
    Decoder::load(&weights, &config, &Device::flex()).unwrap()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// The largest difference of a row over the largest value of that row; the worst row.
fn relative_error(got: &[f32], expected: &[f32], width: usize) -> f32 {
    assert_eq!(got.len(), expected.len());
    let rows = got.chunks_exact(width).zip(expected.chunks_exact(width));
    rows.map(|(got, expected)| {
        let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let largest = expected.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        off.fold(0.0_f32, f32::max) / largest
    })
    .fold(0.0, f32::max)
}

struct Reference {
    file: SafetensorsFile,
}

impl Reference {
    fn new(case: &str) -> Self {
        let file = SafetensorsFile::open(folder(case).join("expected.safetensors")).unwrap();
        Self { file }
    }

    #[track_caller]
    fn check(&self, what: &str, name: &str, got: Vec<f32>, tolerance: f32) {
        let shape = self.file.shape(name).unwrap();
        let expected = self.file.read_f32(name).unwrap();
        let error = relative_error(&got, &expected, shape[1]);
        assert!(error <= tolerance, "{what}: {name} is off by {error:.1e}");
    }
}

fn all_logits(decoder: &Decoder, hidden: Tensor<2>) -> Vec<f32> {
    let rows: Vec<usize> = (0..hidden.dims()[0]).collect();
    values(decoder.logits(hidden, &rows).unwrap())
}

/// Logits and hidden states of a batch without padding against those of a left-padded one.
fn check_states(what: &str, case: &str, decoder: &Decoder) {
    let reference = Reference::new(case);
    let input = DecoderInput::packed(expected(case).sequences.iter().map(Vec::as_slice));
    let states = decoder.all_hidden_states(&input, None).unwrap();
    assert_eq!(states.len(), decoder.config().num_hidden_layers + 1);
    for (index, state) in states.iter().enumerate() {
        let name = format!("hidden_states.{index}");
        reference.check(what, &name, values(state.clone()), 1e-5);
    }
    let last = states.last().unwrap().clone();
    let hidden = decoder.hidden_states(&input, None).unwrap();
    assert_eq!(values(hidden), values(last.clone()));
    reference.check(what, "logits", all_logits(decoder, last), 1e-5);
}

#[test]
fn logits_and_hidden_states() {
    for case in F32.into_iter().chain(BF16) {
        check_states(case, case, &decoder(case));
    }
}

#[test]
fn gguf_files_hold_the_same_models() {
    for case in BF16 {
        let (gguf, directory) = (gguf_decoder(case), decoder(case));
        check_states(&format!("{case} from GGUF"), case, &gguf);
        let (mut from_gguf, from_directory) = (gguf.config().clone(), config(case));
        // Rounded to single precision there.
        let eps = (from_gguf.norm_eps / from_directory.norm_eps - 1.0).abs();
        assert!(eps < 1e-6, "{case}: {}", from_gguf.norm_eps);
        from_gguf.norm_eps = from_directory.norm_eps;
        if case == "mistral_bf16" {
            assert_eq!(from_gguf.architecture, "llama");
            from_gguf.architecture = "mistral".into();
        }
        if case == "llama_bf16" {
            // There a factor for each frequency.
            let inv_freq = from_gguf
                .inv_freq()
                .into_iter()
                .zip(from_directory.inv_freq());
            for (got, expected) in inv_freq {
                assert!((got / expected - 1.0).abs() < 1e-6, "{got} {expected}");
            }
            from_gguf.rope = from_directory.rope.clone();
        }
        assert_eq!(from_gguf, from_directory, "{case}");
        for ((name, a), (_, b)) in gguf.projections().zip(directory.projections()) {
            let (a, b) = (
                values(a.weight().to_tensor()),
                values(b.weight().to_tensor()),
            );
            assert_eq!(a, b, "{case}: {name}");
        }
    }
}

/// One call for all sequences, and what the sums are over.
#[test]
fn perplexities() {
    for case in F32.into_iter().chain(BF16) {
        let (decoder, expected) = (decoder(case), expected(case));
        for (ids, mean_nll) in expected.sequences.iter().zip(expected.mean_nll) {
            let input = DecoderInput::packed([ids.as_slice()]);
            let hidden = decoder.hidden_states(&input, None).unwrap();
            let rows = hidden.narrow(0, 0, ids.len() - 1);
            let nll = decoder.nll(rows, &ids[1..]).unwrap();
            let nll: Vec<f32> = nll.into_data().try_into_vec().unwrap();
            let got = nll.iter().map(|&x| f64::from(x)).sum::<f64>() / nll.len() as f64;
            let error = (got / mean_nll - 1.0).abs();
            assert!(error < 1e-6, "{case}: {got}, not {mean_nll}");
        }
    }
}

/// Sequences that share a cache; their rows lie apart and in an odd order.
struct Cached<'a> {
    decoder: &'a Decoder,
    cache: KvCache,
    /// Of each sequence: where its rows begin, and how many are filled.
    rows: Vec<(usize, usize)>,
}

impl<'a> Cached<'a> {
    fn new(decoder: &'a Decoder, lengths: &[usize]) -> Self {
        let mut end = 3;
        let mut rows: Vec<_> = lengths
            .iter()
            .rev()
            .map(|length| {
                let start = end;
                end += length + 2;
                (start, 0)
            })
            .collect();
        rows.reverse();
        let cache = KvCache::new(decoder.config(), end, &Device::flex());
        Self {
            decoder,
            cache,
            rows,
        }
    }

    /// The logits of the next tokens of every sequence, sequence after sequence.
    fn push(&mut self, tokens: &[&[u32]]) -> Vec<f32> {
        let mut input = DecoderInput::default();
        for (tokens, (start, filled)) in tokens.iter().zip(&mut self.rows) {
            let first = input.input_ids.len();
            let positions = *filled..*filled + tokens.len();
            *filled += tokens.len();
            input.input_ids.extend_from_slice(tokens);
            input.positions.extend(positions.clone());
            input.cache_rows.extend(positions.map(|at| *start + at));
            // In two ranges, as where a prefix is shared.
            let middle = *start + *filled / 2;
            input.segments.push(Segment {
                queries: first..first + tokens.len(),
                keys: vec![*start..middle, middle..*start + *filled],
            });
        }
        let hidden = self.decoder.hidden_states(&input, Some(&mut self.cache));
        all_logits(self.decoder, hidden.unwrap())
    }
}

#[test]
fn a_cache_split_at_odd_places() {
    for case in F32.into_iter().chain(BF16) {
        let (decoder, reference) = (decoder(case), Reference::new(case));
        let sequences = expected(case).sequences;
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let vocab = decoder.config().vocab_size;
        for splits in [vec![3], vec![1, 4, 11], (1..23).collect()] {
            let mut cached = Cached::new(&decoder, &lengths);
            let mut logits: Vec<Vec<f32>> = vec![Vec::new(); sequences.len()];
            let mut from = 0;
            for to in splits.into_iter().chain([usize::MAX]) {
                let part = |ids: &'_ Vec<u32>| from.min(ids.len())..to.min(ids.len());
                let tokens: Vec<&[u32]> = sequences.iter().map(|ids| &ids[part(ids)]).collect();
                let got = cached.push(&tokens);
                let mut rows = got.chunks_exact(vocab);
                for (logits, tokens) in logits.iter_mut().zip(&tokens) {
                    rows.by_ref()
                        .take(tokens.len())
                        .for_each(|row| logits.extend(row));
                }
                from = to;
            }
            reference.check(case, "logits", logits.concat(), 1e-5);
        }
    }
}

#[test]
fn greedy_continuations() {
    for case in F32.into_iter().chain(BF16) {
        let (decoder, expected) = (decoder(case), expected(case));
        // Far above rounding: a difference would be an error and not a near tie.
        assert!(
            expected
                .smallest_margins
                .iter()
                .all(|&margin| margin > 9e-3)
        );
        let vocab = decoder.config().vocab_size;
        let num_new = expected.greedy[0].len();
        let lengths: Vec<usize> = expected
            .sequences
            .iter()
            .map(|s| s.len() + num_new)
            .collect();
        let mut cached = Cached::new(&decoder, &lengths);
        let mut next = expected.sequences.clone();
        let mut got = vec![Vec::new(); next.len()];
        for _ in 0..num_new {
            let tokens: Vec<&[u32]> = next.iter().map(Vec::as_slice).collect();
            let logits = cached.push(&tokens);
            let mut end = 0;
            for (next, got) in next.iter_mut().zip(&mut got) {
                end += next.len();
                let row = &logits[(end - 1) * vocab..end * vocab];
                let best = (0..vocab)
                    .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                    .unwrap();
                *next = vec![best as u32];
                got.push(best as u32);
            }
        }
        assert_eq!(got, expected.greedy, "{case}");
    }
}

type Change = fn(&mut DecoderConfig);

/// Each setting by itself changes what the fixture holds: a setting that was ignored would be seen.
#[test]
fn the_fixtures_tell_the_settings_apart() {
    let changes: [(&str, &str, Change); 8] = [
        ("llama_f32", "linear", |c| {
            c.rope.as_mut().unwrap().scaling = None
        }),
        ("llama_bf16", "llama3", |c| {
            c.rope.as_mut().unwrap().scaling = None
        }),
        ("mistral_f32", "window", |c| c.sliding_windows = Vec::new()),
        ("qwen3_f32", "window of a layer", |c| {
            c.sliding_windows[1] = None
        }),
        ("gemma2_f32", "windows", |c| {
            c.sliding_windows.rotate_left(1)
        }),
        ("gemma2_f32", "cap on scores", |c| {
            c.attn_logit_softcapping = None
        }),
        ("gemma2_f32", "cap on logits", |c| {
            c.final_logit_softcapping = None
        }),
        ("gemma2_f32", "scale", |c| c.query_pre_attn_scalar = 12.0),
    ];
    for (case, what, change) in changes {
        let mut config = config(case);
        change(&mut config);
        let decoder = decoder_with(case, &config);
        let input = DecoderInput::packed(expected(case).sequences.iter().map(Vec::as_slice));
        let hidden = decoder.hidden_states(&input, None).unwrap();
        let reference = Reference::new(case).file.read_f32("logits").unwrap();
        let error = relative_error(&all_logits(&decoder, hidden), &reference, config.vocab_size);
        assert!(
            error > 1e-3,
            "{case} without its {what}: off by {error:.1e} only"
        );
    }
}

/// A bias that is not asked for is not passed over.
#[test]
fn tensors_that_no_setting_asks_for_are_refused() {
    let changes: [(&str, Change); 3] = [
        ("self_attn.q_proj.bias", |c| c.qkv_bias = false),
        ("self_attn.o_proj.bias", |c| c.attention_out_bias = false),
        ("mlp.down_proj.bias", |c| c.mlp_bias = false),
    ];
    let file = folder("llama_f32").join("model.safetensors");
    let weights = SafetensorsFile::open(file).unwrap();
    for (tensor, change) in changes {
        let mut config = config("llama_f32");
        change(&mut config);
        let error = Decoder::load(&weights, &config, &Device::flex()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&format!("model.layers.0.{tensor}")),
            "{message}"
        );
    }
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    let squares = values.into_iter().map(|x| f64::from(x).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn a_lora_step_of_every_family_is_that_of_peft() {
    for case in F32 {
        let mut decoder = decoder(case);
        let step = expected(case).lora.unwrap();
        let adapter = folder(case).join("adapter");
        let config = load_adapter(&mut decoder, &adapter).unwrap();
        let examples: Vec<SftExample> = step
            .examples
            .iter()
            .map(|example| {
                let targets = example.labels.iter().map(|&label| label >= 0).collect();
                SftExample::new(example.input_ids.clone(), targets).unwrap()
            })
            .collect();
        let batch = vec![examples.iter().collect()];
        let loss = |decoder: &mut Decoder| {
            let lora = grsap_lora::LoraConfig::default();
            loss_gradients(decoder, &lora, &batch, LossConfig::default(), |_| None).unwrap()
        };
        let got = loss(&mut decoder);
        let error = (got.loss / step.loss - 1.0).abs();
        assert!(error < 1e-6, "{case}: loss {}, not {}", got.loss, step.loss);

        let factors = AdapterFactors::of(&decoder);
        let grads = SafetensorsFile::open(folder(case).join("grads.safetensors")).unwrap();
        assert_eq!(grads.names().len(), factors.iter().len(), "{case}");
        let (mut off, mut whole) = (Vec::new(), Vec::new());
        for ((name, factor), got) in factors.iter().zip(got.gradients) {
            let expected = grads.read_shaped(name, &factor.dims()).unwrap();
            assert!(norm(expected.iter().copied()) > 0.0, "{case}: {name}");
            off.extend(values(got).iter().zip(&expected).map(|(a, b)| a - b));
            whole.extend(expected);
        }
        let error = norm(off) / norm(whole);
        assert!(error <= 1e-5, "{case}: gradient off by {error:.1e}");

        // The files that we write are PEFT's.
        let saved = tempfile::tempdir().unwrap();
        save_adapter(&decoder, &config, None, AdapterDtype::F32, saved.path()).unwrap();
        let open = |dir: &Path| SafetensorsFile::open(dir.join("adapter_model.safetensors"));
        let (ours, theirs) = (open(saved.path()).unwrap(), open(&adapter).unwrap());
        assert_eq!(ours.names(), theirs.names(), "{case}");
        let field = |dir: &Path| -> serde_json::Value {
            let text = std::fs::read_to_string(dir.join("adapter_config.json")).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["fan_in_fan_out"].clone()
        };
        assert_eq!(field(saved.path()), field(&adapter), "{case}");

        // Merged, the factors are in the weights; without them the loss is another.
        let mut merged = decoder.clone();
        merge(&mut merged);
        let input = DecoderInput::packed(step.examples.iter().map(|e| e.input_ids.as_slice()));
        let logits =
            |decoder: &Decoder| all_logits(decoder, decoder.hidden_states(&input, None).unwrap());
        let (with, vocab) = (logits(&decoder), decoder.config().vocab_size);
        let error = relative_error(&logits(&merged), &with, vocab);
        assert!(error < 1e-5, "{case}: merged is off by {error:.1e}");
        detach(&mut decoder);
        assert!(
            relative_error(&logits(&decoder), &with, vocab) > 1e-2,
            "{case}"
        );
    }
}

#[test]
fn positions_beyond_a_learned_table_are_errors() {
    let decoder = decoder("gpt2_f32");
    let ids = vec![5; 65];
    let error = decoder
        .hidden_states(&DecoderInput::packed([ids.as_slice()]), None)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "decoder: position 64 is out of range for 64"
    );
}
