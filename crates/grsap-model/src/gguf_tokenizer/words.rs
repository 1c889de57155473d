/// How a byte-level vocabulary cuts text into words before merging.
#[derive(Debug)]
pub(super) struct Words {
    /// The names under `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// Cuts, one after the other.
    pub(super) cuts: &'static [Cut],
    /// Whether characters are composed first.
    pub(super) is_nfc: bool,
    /// Whether a word that is a token is taken whole, also where no merges lead to it.
    pub(super) ignore_merges: bool,
    /// Whether a text starts with the beginning-of-sequence token unless the file says otherwise.
    pub(super) adds_bos: bool,
}

#[derive(Debug)]
pub(super) enum Cut {
    /// Every digit stands alone.
    Digits,
    /// GPT-2's own pattern.
    Gpt2,
    /// What the pattern finds, and what is between.
    Pattern(&'static str),
}

/// Words, single digits or up to three, punctuation, line ends, blanks.
macro_rules! words_with_digits {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// Words that start with capitals are cut before small letters end; the rest with `$digits`, and
/// `$ending` is what may follow a word.
macro_rules! words_by_case {
    ($ending:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $ending,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $ending,
            "|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

const PLAIN: Words = Words {
    names: &[],
    cuts: &[],
    is_nfc: false,
    ignore_merges: false,
    adds_bos: false,
};

/// # Source
///
/// llama.cpp, `llama_vocab`, for the names, the patterns and the two defaults; NFC is in the
/// `tokenizer.json` of Qwen. Families whose pattern there is not that of their `tokenizer.json`
/// (deepseek-llm, falcon) are left out.
static ALL: [Words; 9] = [
    Words {
        names: &["default", "gpt-2", "gpt2", "phi-2", "olmo"],
        cuts: &[Cut::Gpt2],
        ..PLAIN
    },
    Words {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        cuts: &[Cut::Digits, Cut::Gpt2],
        ..PLAIN
    },
    Words {
        names: &["llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"],
        cuts: &[Cut::Pattern(words_with_digits!(r"\p{N}{1,3}"))],
        ignore_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Words {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],
        cuts: &[Cut::Pattern(words_with_digits!(r"\p{N}{1,3}"))],
        ..PLAIN
    },
    Words {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        cuts: &[Cut::Pattern(words_with_digits!(r"\p{N}"))],
        is_nfc: true,
        ..PLAIN
    },
    Words {
        names: &["deepseek-coder"],
        cuts: &[
            Cut::Pattern(r"[\r\n]"),
            Cut::Pattern(r"\s?\p{L}+"),
            Cut::Pattern(r"\s?\p{P}+"),
            Cut::Pattern("[一-龥ࠀ-一가-\u{d7ff}]+"),
            Cut::Digits,
        ],
        ..PLAIN
    },
    Words {
        names: &["deepseek-v3"],
        cuts: &[
            Cut::Pattern(r"\p{N}{1,3}"),
            Cut::Pattern("[一-龥\u{3040}-ゟ゠-ヿ]+"),
            Cut::Pattern(concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
                r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|",
                r"\s*[\r\n]+|\s+(?!\S)|\s+"
            )),
        ],
        ..PLAIN
    },
    Words {
        names: &["tekken"],
        cuts: &[Cut::Pattern(words_by_case!("", r"\p{N}"))],
        ignore_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Words {
        names: &["gpt-4o", "llama4"],
        cuts: &[Cut::Pattern(words_by_case!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}"
        ))],
        ..PLAIN
    },
];

impl Words {
    /// The words of a name. Files without one are read with GPT-2's pattern, as in transformers.
    pub(super) fn named(name: Option<&str>) -> Option<&'static Self> {
        let name = name.unwrap_or("default");
        ALL.iter().find(|words| words.names.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_one_thing_and_every_pattern_is_one() {
        let mut names = std::collections::BTreeSet::new();
        for words in &ALL {
            for name in words.names {
                assert!(names.insert(name), "{name}");
            }
            crate::gguf_tokenizer::byte_level::pre_tokenizer(words).unwrap();
        }
        assert!(Words::named(None).is_some());
        assert!(Words::named(Some("klingon")).is_none());
        assert!(Words::named(Some("")).is_none());
    }
}
