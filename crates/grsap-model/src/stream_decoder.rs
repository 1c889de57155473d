use std::sync::Arc;

use tokenizers::{DecoderWrapper, Tokenizer};

/// A vocabulary whose ids leave out more than this many numbers gets no table.
const MOST_GAPS: usize = 1 << 20;

/// Turns tokens into text one at a time. A character that several tokens make up appears when it
/// is whole.
///
/// The texts of all [`push`](Self::push)es and of [`finish`](Self::finish) together are what
/// [`ChatTokenizer::decode`](crate::ChatTokenizer::decode) gives without special tokens. There is one exception:
/// where bytes behind a character make none themselves, a decoder with byte fallback takes the character
/// back, which has appeared already. It stays.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    source: Arc<DecodeSource>,
    /// All text so far.
    text: String,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// Bytes that do not make up a character yet, at most three.
    Bytes(Vec<u8>),
    /// Tokens since the last place where the text was whole. The first `num_done` are in the text
    /// already and only give the rest its context (some decoders trim the first space).
    Window { ids: Vec<u32>, num_done: usize },
}

/// How the tokens of a vocabulary become text.
#[derive(Debug)]
pub(crate) enum DecodeSource {
    /// Byte-level vocabularies: each token stands for its bytes, whatever is around it.
    Bytes(ByteTable),
    /// Everything else: ask the tokenizer.
    Tokenizer(Arc<Tokenizer>),
}

/// The bytes of each token, one after the other.
#[derive(Debug)]
pub(crate) struct ByteTable {
    bytes: Vec<u8>,
    /// Where each token's bytes end. Special and missing tokens have none.
    ends: Vec<usize>,
}

impl ByteTable {
    fn get(&self, id: u32) -> &[u8] {
        let bytes = usize::try_from(id).ok().and_then(|id| {
            let end = *self.ends.get(id)?;
            let start = match id.checked_sub(1) {
                None => 0,
                Some(previous) => *self.ends.get(previous)?,
            };
            self.bytes.get(start..end)
        });
        bytes.unwrap_or_default()
    }
}

impl DecodeSource {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>) -> Self {
        if !matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Self::Tokenizer(Arc::clone(tokenizer));
        }
        let added = tokenizer.get_added_vocabulary();
        let vocab = tokenizer.get_vocab(true);
        let largest = vocab.values().copied().max().unwrap_or(0);
        if largest as usize > MOST_GAPS + vocab.len() {
            return Self::Tokenizer(Arc::clone(tokenizer));
        }
        let mut table = ByteTable {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        for id in 0..=largest {
            let token = added
                .simple_id_to_token(id)
                .or_else(|| tokenizer.id_to_token(id))
                .filter(|token| !added.is_special_token(token));
            if let Some(token) = token {
                table.bytes.extend(token_bytes(&token));
            }
            table.ends.push(table.bytes.len());
        }
        Self::Bytes(table)
    }

    pub(crate) fn stream(self: &Arc<Self>) -> StreamDecoder {
        StreamDecoder {
            source: Arc::clone(self),
            text: String::new(),
            state: match **self {
                Self::Bytes(_) => State::Bytes(Vec::new()),
                Self::Tokenizer(_) => State::Window {
                    ids: Vec::new(),
                    num_done: 0,
                },
            },
        }
    }
}

/// The bytes that a token of a byte-level vocabulary stands for. A token that is not written in
/// the byte-level alphabet stands for itself.
fn token_bytes(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(char_byte).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that a character of the byte-level alphabet stands for.
///
/// # Source
///
/// GPT-2's `bytes_to_unicode`: printable Latin-1 bytes are themselves; the others, in order, are
/// the characters from U+0100 on.
fn char_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        // 0x00..=0x20, 0x7F..=0xA0 and 0xAD.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

impl StreamDecoder {
    /// Adds a token and returns the characters that it completed. Special tokens add nothing.
    pub fn push(&mut self, id: u32) -> &str {
        let start = self.text.len();
        match (&*self.source, &mut self.state) {
            (DecodeSource::Bytes(table), State::Bytes(pending)) => {
                pending.extend_from_slice(table.get(id));
                drain_utf8(pending, &mut self.text);
            }
            (DecodeSource::Tokenizer(tokenizer), State::Window { ids, num_done }) => {
                ids.push(id);
                push_window(tokenizer, ids, num_done, &mut self.text);
            }
            // `stream` makes the state that fits the source.
            _ => {}
        }
        self.text.get(start..).unwrap_or_default()
    }

    /// Ends the text: an unfinished character becomes U+FFFD, as in decoding all at once.
    pub fn finish(&mut self) -> &str {
        let start = self.text.len();
        match (&*self.source, &mut self.state) {
            (DecodeSource::Bytes(_), State::Bytes(pending)) => {
                self.text.push_str(&String::from_utf8_lossy(pending));
                pending.clear();
            }
            (DecodeSource::Tokenizer(tokenizer), State::Window { ids, num_done }) => {
                self.text.push_str(&window_rest(tokenizer, ids, *num_done));
                *num_done = ids.len();
            }
            _ => {}
        }
        self.text.get(start..).unwrap_or_default()
    }

    /// All text so far, without a character that is not whole yet.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Moves all whole characters from `pending` to `text`, and U+FFFD for bytes that can never
/// become one.
fn drain_utf8(pending: &mut Vec<u8>, text: &mut String) {
    let mut rest: &[u8] = pending;
    let mut num_left = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        rest = rest
            .get(chunk.valid().len() + chunk.invalid().len()..)
            .unwrap_or_default();
        if chunk.invalid().is_empty() {
            continue;
        }
        let unfinished = rest.is_empty()
            && std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
        if unfinished {
            num_left = chunk.invalid().len();
        } else {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    pending.drain(..pending.len() - num_left);
}

/// What the tokens after the first `num_done` add to the text. Where they change what stands before, that
/// is what they are by themselves.
fn window_rest(tokenizer: &Tokenizer, ids: &[u32], num_done: usize) -> String {
    let (done, new) = ids.split_at(num_done.min(ids.len()));
    let decode = |ids: &[u32]| tokenizer.decode(ids, true).unwrap_or_default();
    match decode(ids).strip_prefix(decode(done).as_str()) {
        Some(rest) => rest.to_owned(),
        None => decode(new),
    }
}

fn push_window(tokenizer: &Tokenizer, ids: &mut Vec<u32>, num_done: &mut usize, text: &mut String) {
    let rest = window_rest(tokenizer, ids, *num_done);
    if rest.is_empty() || rest.ends_with(char::REPLACEMENT_CHARACTER) {
        return;
    }
    text.push_str(&rest);
    // Keep only what was new this time as the next context.
    ids.drain(..*num_done);
    *num_done = ids.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::decoders::byte_fallback::ByteFallback;
    use tokenizers::decoders::fuse::Fuse;
    use tokenizers::decoders::sequence::Sequence;
    use tokenizers::decoders::strip::Strip;
    use tokenizers::models::bpe::{BPE, Vocab};
    use tokenizers::normalizers::replace::Replace;

    use crate::gguf::GgufFile;
    use crate::gguf::builder::{GgufBuilder, tiny_tokenizer};
    use crate::tokenizer::ChatTokenizer;

    /// Pushes `ids` and returns what each push gave, and at last what `finish` gave.
    fn parts(mut stream: StreamDecoder, ids: &[u32]) -> Vec<String> {
        let mut parts: Vec<String> = ids.iter().map(|id| stream.push(*id).to_owned()).collect();
        parts.push(stream.finish().to_owned());
        assert_eq!(stream.text(), parts.concat());
        assert_eq!(stream.finish(), "");
        parts
    }

    fn tiny() -> ChatTokenizer {
        let bytes = tiny_tokenizer(GgufBuilder::new()).build();
        ChatTokenizer::from_gguf(&GgufFile::from_bytes(bytes).unwrap()).unwrap()
    }

    /// The id of a byte's own token.
    fn byte(byte: u8) -> u32 {
        3 + u32::from(byte)
    }

    #[test]
    fn a_character_appears_when_it_is_whole() {
        let ids: Vec<u32> = "é🙂a".bytes().map(byte).collect();
        let parts = parts(tiny().stream_decoder(), &ids);
        assert_eq!(parts, ["", "é", "", "", "", "🙂", "a", ""]);
    }

    #[test]
    fn broken_characters_are_replaced_as_in_decoding_at_once() {
        let cases: [&[u8]; 8] = [
            b"\xF0\x9F",
            b"\xF0\x9Fa",
            b"\xFFa\xFE",
            b"\xE6\x97\xE6\x97\xA5",
            b"\xC3\xC3\xA9",
            b"\x80\x80",
            b"\xED\xA0\x80x",
            b"\xF4\x90\x80\x80",
        ];
        for bytes in cases {
            let ids: Vec<u32> = bytes.iter().copied().map(byte).collect();
            let text = parts(tiny().stream_decoder(), &ids).concat();
            assert_eq!(text, tiny().decode(&ids, true).unwrap(), "{bytes:x?}");
        }
    }

    #[test]
    fn every_pair_and_random_tokens_match_decoding_at_once() {
        use rand::RngExt as _;
        let tokenizer = tiny();
        let mut rng = grsap_core::rng(0, "stream_decoder.tests", &[]);
        for _ in 0..3000 {
            let ids: Vec<u32> = (0..6).map(|_| rng.random_range(0..300)).collect();
            let text = parts(tokenizer.stream_decoder(), &ids).concat();
            assert_eq!(text, tokenizer.decode(&ids, true).unwrap(), "{ids:?}");
        }
    }

    #[test]
    fn special_and_unknown_tokens_add_nothing() {
        let parts = parts(tiny().stream_decoder(), &[1, 262, 2, u32::MAX]);
        assert_eq!(parts, ["", "hello", "", "", ""]);
    }

    #[test]
    fn sentencepiece_decoders_keep_inner_spaces_and_bytes() {
        let tokens = ["▁a", "▁b", "c", "<0xC3>", "<0xA9>", "<s>"];
        let vocab: Vocab = (0..)
            .zip(tokens)
            .map(|(id, token)| (token.to_owned(), id))
            .collect();
        let mut tokenizer = Tokenizer::new(BPE::new(vocab, Vec::new()));
        tokenizer.with_decoder(Some(Sequence::new(vec![
            Replace::new("▁", " ").unwrap().into(),
            ByteFallback::new().into(),
            Fuse::new().into(),
            Strip::new(' ', 1, 0).into(),
        ])));
        tokenizer
            .add_special_tokens([tokenizers::AddedToken::from("<s>", true)])
            .unwrap();
        let tokenizer = Arc::new(tokenizer);
        let source = Arc::new(DecodeSource::new(&tokenizer));
        let ids = [5, 0, 1, 2, 3, 4, 0, 3];
        let parts = parts(source.stream(), &ids);
        assert_eq!(parts, ["", "a", " b", "c", "", "é", " a", "", "\u{FFFD}"]);
        assert_eq!(parts.concat(), tokenizer.decode(&ids, true).unwrap());

        // A byte behind a character spoils the whole run of bytes when all is decoded at once. Here the
        // character stays, and the text goes on.
        let ids = [3, 4, 3, 0, 1, 2];
        let parts = self::parts(source.stream(), &ids);
        assert_eq!(parts, ["", "é", "", "\u{FFFD} a", " b", "c", ""]);
        let parts = self::parts(source.stream(), &[3, 4, 3]);
        assert_eq!(parts, ["", "é", "", "\u{FFFD}"]);
    }
}
