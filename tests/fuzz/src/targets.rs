//! What is done with the bytes. Errors are good; panics, hangs and runaway allocations are not.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::sync::Arc;

use grsap_core::{Message, Turn};
use grsap_model::{
    ChatTemplate, ChatTokenizer, DecoderConfig, GgufFile, GgufWeights, SafetensorsFile,
    TensorSource,
};

use super::allocation::peak_of;
use super::builder::GgufBuilder;

/// Tensors of a file that are read.
const MAX_TENSORS: usize = 16;

/// A kind of file, with what reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A GGUF file: header, configuration, values.
    Gguf,
    /// A safetensors file, or (first byte odd) an index with a shard, divided by a zero byte.
    Safetensors,
    /// A GGUF file with a tokenizer, or the parts of one.
    GgufTokenizer,
    /// A template, and after a zero byte the content of a message.
    ChatTemplate,
    /// `config.json`, which serves as `tokenizer_config.json` too.
    Config,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Gguf,
        Self::Safetensors,
        Self::GgufTokenizer,
        Self::ChatTemplate,
        Self::Config,
    ];

    /// The name of its folder and its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
            Self::GgufTokenizer => "gguf_tokenizer",
            Self::ChatTemplate => "chat_template",
            Self::Config => "config",
        }
    }

    /// The most memory that so long an input may cost: a constant for tables that do not depend on
    /// it, and a multiple, as values in memory take more room than in a file.
    fn allowed(self, len: usize) -> usize {
        let (constant, multiple) = match self {
            Self::Gguf | Self::Safetensors | Self::Config => (1 << 20, 64),
            // Compiled patterns, tables of all bytes.
            Self::GgufTokenizer => (24 << 20, 256),
            // A program: what it makes is bounded by how much it may compute, not by its length.
            Self::ChatTemplate => (64 << 20, 256),
        };
        constant + multiple * len
    }

    /// Reads the bytes.
    ///
    /// # Panics
    ///
    /// When reading panics, or took more memory than such an input may.
    pub fn run(self, data: &[u8]) {
        let peak = peak_of(|| match self {
            Self::Gguf => gguf(data),
            Self::Safetensors => safetensors(data),
            Self::GgufTokenizer => gguf_tokenizer(data),
            Self::ChatTemplate => chat_template(data),
            Self::Config => config(data),
        });
        let (len, allowed) = (data.len(), self.allowed(data.len()));
        assert!(
            peak <= allowed,
            "{}: {len} bytes of input cost {peak} bytes, above {allowed}",
            self.name()
        );
    }
}

/// A folder of its own for every thread, used again and again.
fn in_folder(files: &[(&str, &[u8])], work: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: Folder = Folder::new();
    }
    FOLDER.with(|Folder(folder)| {
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).expect("the folder can be written to");
        }
        work(folder);
        for (name, _) in files {
            std::fs::remove_file(folder.join(name)).expect("the file is there");
        }
    });
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!(
            "grsap-fuzz-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Unpacks a result; an error must have something to say.
fn checked<T, E: Display + Debug>(result: Result<T, E>) -> Option<T> {
    result
        .map_err(|e| assert!(!e.to_string().is_empty() && !format!("{e:?}").is_empty()))
        .ok()
}

fn gguf(data: &[u8]) {
    in_folder(&[("model.gguf", data)], |folder| {
        let Some(file) = checked(GgufFile::open(folder.join("model.gguf"))) else {
            return;
        };
        for tensor in file.tensors().iter().take(MAX_TENSORS) {
            let values = file.read_f32(&tensor.name).expect("its place was checked");
            assert_eq!(values.len(), tensor.shape.iter().product::<usize>());
        }
        if let Some(config) = checked(DecoderConfig::from_gguf(&file)) {
            assert_eq!(config.inv_freq().len(), config.head_dim / 2);
        }
        if let Some(weights) = checked(GgufWeights::new(Arc::new(file))) {
            read_all(&weights);
        }
    });
}

fn read_all(source: &dyn TensorSource) {
    for name in source.names().iter().take(MAX_TENSORS) {
        let shape = source.shape(name).expect("it was listed");
        if let Some(values) = checked(source.read_f32(name)) {
            assert_eq!(values.len(), shape.iter().product::<usize>());
        }
        checked(source.read_shaped(name, &[1, 2, 3]));
    }
}

fn safetensors(data: &[u8]) {
    let single = "model.safetensors";
    let index = "model.safetensors.index.json";
    let open = |folder: &Path| {
        if let Some(file) = checked(SafetensorsFile::open(folder)) {
            read_all(&file);
        }
    };
    match data.split_first() {
        Some((first, rest)) if first % 2 == 1 => {
            let end = rest
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(rest.len());
            let (json, shard) = rest.split_at(end);
            let shard = shard.get(1..).unwrap_or_default();
            in_folder(&[(index, json), ("a.safetensors", shard)], open);
        }
        Some((_, rest)) => in_folder(&[(single, rest)], open),
        None => in_folder(&[(single, data)], open),
    }
}

fn gguf_tokenizer(data: &[u8]) {
    const TEXT: &str = "Hello  world 123\n\t<|im_end|> größe 東京 🙂 e\u{301} don't";
    let built;
    let data = if data.starts_with(b"GGUF") {
        data
    } else {
        built = tokenizer_file(data);
        &built
    };
    in_folder(&[("model.gguf", data)], |folder| {
        let Some(file) = checked(GgufFile::open(folder.join("model.gguf"))) else {
            return;
        };
        checked(ChatTemplate::from_gguf(&file));
        let Some(tokenizer) = checked(ChatTokenizer::from_gguf(&file)) else {
            return;
        };
        if let Some(ids) = checked(tokenizer.encode_text(TEXT)) {
            checked(tokenizer.decode(&ids, true));
            checked(tokenizer.decode(&ids, false));
        }
        checked(tokenizer.encode_with_offsets(TEXT));
        for id in [0, 1, 255, u32::MAX] {
            let _ = (tokenizer.id_to_token(id), tokenizer.is_eos(id));
        }
    });
}

/// A GGUF file with a tokenizer, from bytes that the fuzzer can change without breaking the
/// container: flags, then lines that are tokens, or merges (with a leading tab).
fn tokenizer_file(data: &[u8]) -> Vec<u8> {
    const MODELS: [&str; 4] = ["gpt2", "llama", "gpt2", "bert"];
    const PRE: [&str; 8] = [
        "default",
        "gpt-2",
        "smollm",
        "llama-bpe",
        "qwen2",
        "olmo",
        "unknown",
        "",
    ];
    let (flags, lines) = data.split_at(data.len().min(4));
    let flag = |index: usize| flags.get(index).copied().unwrap_or(0);
    let (mut tokens, mut merges, mut types, mut scores) = (vec![], vec![], vec![], vec![]);
    for line in lines.split(|byte| *byte == b'\n') {
        match line.split_first() {
            Some((b'\t', merge)) => merges.push(merge),
            Some((first, token)) => {
                // The lowest bits of the first byte are the token's type.
                types.push(i32::from(first % 8));
                scores.push(-f32::from(first / 8));
                tokens.push(token);
            }
            None => {}
        }
    }
    let mut writer = GgufBuilder::new()
        .text("general.architecture", "llama")
        .text(
            "tokenizer.ggml.model",
            MODELS[usize::from(flag(0)) % 4].as_bytes(),
        )
        .text(
            "tokenizer.ggml.pre",
            PRE[usize::from(flag(1)) % 8].as_bytes(),
        )
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &merges)
        .u32("tokenizer.ggml.bos_token_id", u32::from(flag(2)))
        .u32("tokenizer.ggml.eos_token_id", u32::from(flag(3) >> 4));
    if flag(3) & 1 == 1 {
        writer = writer.i32s("tokenizer.ggml.token_type", &types);
    }
    if flag(3) & 2 == 2 {
        writer = writer.f32s("tokenizer.ggml.scores", &scores);
    }
    if flag(3) & 4 == 4 {
        writer = writer.boolean("tokenizer.ggml.add_bos_token", true);
    }
    if flag(3) & 8 == 8 {
        writer = writer.boolean("tokenizer.ggml.add_space_prefix", true);
    }
    writer.build()
}

fn chat_template(data: &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (source, content) = data.split_at(end);
    let Ok(source) = std::str::from_utf8(source) else {
        return;
    };
    let content = String::from_utf8_lossy(content.get(1..).unwrap_or_default());
    let Some(template) = checked(ChatTemplate::new(source, Some("<s>"), Some("</s>"))) else {
        return;
    };
    let messages = [
        Message::system(content.clone()),
        Message::user("Hello."),
        Message::assistant(content),
    ];
    checked(template.render_closed(&messages));
    checked(template.render(&messages, Turn::NewAssistant));
    checked(template.render(&messages, Turn::ContinueLast));
}

fn config(data: &[u8]) {
    let files = [("config.json", data), ("tokenizer_config.json", data)];
    in_folder(&files, |folder| {
        if let Some(config) = checked(DecoderConfig::from_hf_file(&folder.join("config.json"))) {
            assert_eq!(config.inv_freq().len(), config.head_dim / 2);
        }
        checked(ChatTemplate::from_dir(folder));
    });
}
