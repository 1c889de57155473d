//! Small GGUF files for tests and fuzzing.

/// Writes the bytes of a GGUF file, well-formed or not.
pub(crate) struct GgufBuilder {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) num_entries: u64,
    pub(crate) num_tensors: u64,
    entries: Vec<u8>,
    infos: Vec<u8>,
    data: Vec<u8>,
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn array(kind: u32, len: usize) -> Vec<u8> {
    [kind.to_le_bytes().as_slice(), &(len as u64).to_le_bytes()].concat()
}

impl GgufBuilder {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            num_entries: 0,
            num_tensors: 0,
            entries: Vec::new(),
            infos: Vec::new(),
            data: Vec::new(),
        }
    }

    /// An entry with a type number and the bytes of its value.
    pub(crate) fn raw(mut self, key: &[u8], kind: u32, value: &[u8]) -> Self {
        self.num_entries += 1;
        self.entries.extend(string(key));
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key.as_bytes(), 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key.as_bytes(), 6, &value.to_le_bytes())
    }

    pub(crate) fn boolean(self, key: &str, value: bool) -> Self {
        self.raw(key.as_bytes(), 7, &[value.into()])
    }

    /// A text, which need not be UTF-8.
    pub(crate) fn text(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.raw(key.as_bytes(), 8, &string(value.as_ref()))
    }

    pub(crate) fn texts<S: AsRef<[u8]>>(self, key: &str, values: &[S]) -> Self {
        let mut bytes = array(8, values.len());
        for value in values {
            bytes.extend(string(value.as_ref()));
        }
        self.raw(key.as_bytes(), 9, &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = array(5, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key.as_bytes(), 9, &bytes)
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Self {
        let mut bytes = array(6, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key.as_bytes(), 9, &bytes)
    }

    /// What the file says about a tensor, without its data.
    pub(crate) fn info(mut self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Self {
        self.num_tensors += 1;
        self.infos.extend(string(name.as_bytes()));
        self.infos.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes {
            self.infos.extend(size.to_le_bytes());
        }
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self
    }

    /// A tensor of `shape` (row-major, as in PyTorch) with its data.
    pub(crate) fn tensor(mut self, name: &str, shape: &[usize], kind: u32, data: &[u8]) -> Self {
        self.data
            .resize(self.data.len().next_multiple_of(self.alignment), 0);
        let sizes: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
        let offset = self.data.len() as u64;
        self.data.extend(data);
        self.info(name, &sizes, kind, offset)
    }

    pub(crate) fn f32_tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensor(name, shape, 0, &bytes)
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.num_tensors.to_le_bytes());
        bytes.extend(self.num_entries.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// The metadata of a Llama of two blocks: width 8, two heads of 4, one key-value head.
pub(crate) fn tiny_llama() -> GgufBuilder {
    GgufBuilder::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 8)
        .u32("llama.feed_forward_length", 12)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 10_000.0)
}

/// A byte-level vocabulary with a few merges and three control tokens, in the style of ChatML.
/// Ids: 0 `<|endoftext|>`, 1 `<|im_start|>`, 2 `<|im_end|>`, then the bytes from 0 on.
pub(crate) fn tiny_tokenizer(builder: GgufBuilder) -> GgufBuilder {
    let mut tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        .map(str::to_owned)
        .to_vec();
    let mut next = 0x100;
    for byte in 0..=255_u32 {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        tokens.push(char::from_u32(code).unwrap().to_string());
    }
    let merges = [
        "h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ Ġ", "1 2", "u s", "us e", "use r",
    ];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    types[..3].fill(3);
    builder
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &merges)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .u32("tokenizer.ggml.padding_token_id", 2)
        .boolean("tokenizer.ggml.add_bos_token", false)
}
