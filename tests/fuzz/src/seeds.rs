//! Small well-formed files, one at least for each way through the readers.

use super::builder::GgufBuilder;
use super::targets::Target;

/// The files that fuzzing starts from, with their names in the folder `corpus`.
pub fn seeds(target: Target) -> Vec<(&'static str, Vec<u8>)> {
    match target {
        Target::Gguf => vec![
            ("empty.gguf", GgufBuilder::new().build()),
            ("values.gguf", version_2(values()).build()),
            ("types.gguf", types().build()),
            ("llama.gguf", llama().build()),
        ],
        Target::Safetensors => safetensors(),
        Target::GgufTokenizer => tokenizers(),
        Target::ChatTemplate => texts(&TEMPLATES),
        Target::Config => texts(&CONFIGS),
    }
}

fn texts(named: &[(&'static str, &str)]) -> Vec<(&'static str, Vec<u8>)> {
    named
        .iter()
        .map(|(name, text)| (*name, text.as_bytes().to_vec()))
        .collect()
}

fn tokenizers() -> Vec<(&'static str, Vec<u8>)> {
    // The first letter of a line carries the type of the token behind it, a tab a merge.
    let lines = [
        "C<s>",
        "C</s>",
        "Aa",
        "Ib",
        "Qab",
        "YH",
        "D\u{2581}",
        "F<0x41>",
        "A\u{120}",
        "A\u{120}a",
        "\ta b",
        "\t\u{120} a",
    ]
    .join("\n");
    let mut seeds = vec![("file.gguf", tokenizer().build())];
    for (name, flags) in [
        ("gpt2", [0, 1, 0, 0x01]),
        ("smollm", [0, 2, 1, 0x15]),
        ("llama3", [0, 3, 0, 0x01]),
        ("qwen2", [0, 4, 0, 0x11]),
        ("sentencepiece", [1, 0, 1, 0x2F]),
    ] {
        seeds.push((name, [flags.as_slice(), lines.as_bytes()].concat()));
    }
    seeds
}

fn version_2(mut file: GgufBuilder) -> GgufBuilder {
    file.version = 2;
    file
}

fn values() -> GgufBuilder {
    let strings = [8_u32.to_le_bytes().as_slice(), &0_u64.to_le_bytes()].concat();
    let nested = [
        9_u32.to_le_bytes().as_slice(),
        &1_u64.to_le_bytes(),
        &strings,
    ]
    .concat();
    GgufBuilder::new()
        .raw(b"u8", 0, &[1])
        .raw(b"i8", 1, &[2])
        .raw(b"u16", 2, &[3, 0])
        .raw(b"i16", 3, &[4, 0])
        .u32("u32", 5)
        .raw(b"i32", 5, &[6, 0, 0, 0])
        .f32("f32", 0.5)
        .boolean("bool", true)
        .text("text", "größe")
        .texts("texts", &["a", ""])
        .i32s("ints", &[1, -1])
        .f32s("floats", &[1.0])
        .raw(b"nested", 9, &nested)
        .raw(b"u64", 10, &7_u64.to_le_bytes())
        .raw(b"i64", 11, &8_i64.to_le_bytes())
        .raw(b"f64", 12, &0.5_f64.to_le_bytes())
        .u32("general.alignment", 32)
}

/// One tensor of every storage type.
fn types() -> GgufBuilder {
    let mut writer = GgufBuilder::new();
    for (kind, row, bytes) in [
        (0_u32, 2_usize, 8_usize),
        (1, 2, 4),
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (10, 256, 84),
        (11, 256, 110),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
        (30, 2, 4),
    ] {
        let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + 3) as u8 & 0x3F).collect();
        writer = writer.tensor(&format!("t{kind}"), &[1, row], kind, &data);
    }
    writer
}

fn llama() -> GgufBuilder {
    let zeros = [0; 1024];
    let matrix = |writer: GgufBuilder, name: &str, shape: [usize; 2]| {
        let len = shape[0] * shape[1] * 4;
        writer.tensor(name, &shape, 0, &zeros[..len])
    };
    let writer = GgufBuilder::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 8)
        .u32("llama.feed_forward_length", 12)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 10_000.0)
        .f32("llama.rope.scaling.factor", 2.0)
        .text("llama.rope.scaling.type", "linear");
    let writer = matrix(writer, "token_embd.weight", [5, 8]);
    let writer = matrix(writer, "blk.0.attn_q.weight", [8, 8]);
    let writer = matrix(writer, "blk.0.attn_k.weight", [4, 8]);
    writer.tensor("rope_freqs.weight", &[2], 0, &[0, 0, 0x80, 0x3F].repeat(2))
}

fn tokenizer() -> GgufBuilder {
    let tokens = ["<|end|>", "a", "b", "ab", "Ġ", "Ġa"];
    llama()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &["a b", "Ġ a"])
        .i32s("tokenizer.ggml.token_type", &[3, 1, 1, 1, 1, 4])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 0)
        .boolean("tokenizer.ggml.add_bos_token", true)
        .text("tokenizer.chat_template", TEMPLATES[0].1)
}

fn safetensors() -> Vec<(&'static str, Vec<u8>)> {
    let file = |header: &str, data: &[u8]| {
        [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            data,
        ]
        .concat()
    };
    let three = file(
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]},"c":{"dtype":"BF16","shape":[2,1],"data_offsets":[12,16]}}"#,
        &[0; 16],
    );
    let one = file(
        r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        &[0; 4],
    );
    let other = file(
        r#"{"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"e":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]}}"#,
        &[1; 8],
    );
    let index = r#"{"metadata":{"total_size":4},"weight_map":{"x":"a.safetensors"}}"#;
    let outside = r#"{"weight_map":{"x":"../a.safetensors","y":"a.safetensors"}}"#;
    vec![
        ("three", [&[0], three.as_slice()].concat()),
        ("other_types", [&[0], other.as_slice()].concat()),
        (
            "index",
            [&[1], index.as_bytes(), &[0], one.as_slice()].concat(),
        ),
        (
            "outside",
            [&[1], outside.as_bytes(), &[0], one.as_slice()].concat(),
        ),
    ]
}

const TEMPLATES: [(&str, &str); 7] = [
    (
        "turns",
        "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}\0Hi",
    ),
    (
        "system",
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{%- for m in loop_messages %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{%- endif %}{%- if loop.first and system is defined %}{{ system ~ '\\n\\n' }}{%- endif %}[{{ m.role | upper }}] {{ m.content }}{%- endfor %}\0Be kind.",
    ),
    (
        "functions",
        "{%- macro show(x, indent=2) %}{{ x | tojson(indent=indent) }}{% endmacro %}{{ show(messages) }}{{ strftime_now('%d %B %Y') }}{%- set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% endfor %}{{ ns.n }}{{ messages | map(attribute='role') | join(', ') }}\0x",
    ),
    (
        "methods",
        "{% for m in messages %}{% generation %}{{ m.content.split('</think>')[-1].lstrip('\\n').strip() }}{{ m.content.startswith('a') }}{% endgeneration %}{% if not loop.last %}{% continue %}{% endif %}{{ m.content.replace('a', 'b') }}{% endfor %}\0a</think>\nb",
    ),
    (
        "doubling",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | length }}\0",
    ),
    (
        "nesting",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% for j in range(50) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}{{ ns.x | tojson }}{{ ns.x }}\0",
    ),
    (
        "growth",
        "{% for i in range(9) %}{% for j in range(9) %}{{ i * j }}{{ 'ab' * 3 }}{% endfor %}{% endfor %}{{ [1, 2] + [3] }}{{ {'a': [1]} }}{% filter upper %}x{% endfilter %}\0",
    ),
];

const CONFIGS: [(&str, &str); 4] = [
    (
        "llama.json",
        r#"{"model_type":"llama","vocab_size":100,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"rms_norm_eps":1e-5,"rope_theta":5e5,"max_position_embeddings":128,"tie_word_embeddings":true,"hidden_act":"silu","rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}}"#,
    ),
    (
        "new.json",
        r#"{"model_type":"llama","vocab_size":9,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":1,"head_dim":8,"rope_parameters":{"rope_type":"linear","factor":2,"rope_theta":1e4},"attention_bias":true,"sliding_window":64}"#,
    ),
    (
        "families.json",
        r#"{"model_type":"gemma2","vocab_size":9,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,"attn_logit_softcapping":50.0,"final_logit_softcapping":30.0,"query_pre_attn_scalar":4,"sliding_window":8,"layer_types":["sliding_attention","full_attention"],"hidden_activation":"gelu_pytorch_tanh","tie_word_embeddings":true}"#,
    ),
    (
        "tokenizer_config.json",
        r#"{"chat_template":[{"name":"default","template":"{{ messages[0].content }}"},{"name":"other","template":"{"}],"bos_token":{"content":"<s>"},"eos_token":"</s>"}"#,
    ),
];
