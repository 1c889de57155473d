use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer};

use super::vocabulary::{
    MERGES, NORMAL, SCORES, TYPES, UNKNOWN, USER_DEFINED, Vocabulary, token_id,
};
use crate::gguf::{GgufArray, GgufValue};
use crate::load_error::LoadError;

/// A blank, as sentencepiece spells it.
const BLANK: &str = "▁";

/// Sentencepiece's BPE: of all pairs that make a token, the one with the best score is merged
/// first; characters that are no token become bytes.
///
/// # Source
///
/// llama.cpp and sentencepiece: a blank is put before every stretch of text between special tokens,
/// also where the text starts with one (`tokenizer.json` of Llama 2: `Prepend`). transformers reads
/// such files with `Metaspace`, which puts it before the first stretch only, and not before a blank.
pub(super) fn tokenizer(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer, LoadError> {
    let file = vocabulary.file;
    let is_gemma = file
        .string("general.architecture")?
        .is_some_and(|name| name.starts_with("gemma"));
    let vocabulary = &with_spelled_blanks(vocabulary);
    let ids = vocabulary.ids()?;
    let merges = match vocabulary.merges(&ids)? {
        Some(merges) => merges,
        None => merges(vocabulary, is_gemma)?,
    };
    let unknown = match token_id(file, vocabulary.tokens.len(), "unknown_token_id")? {
        Some(id) => Some(id as usize),
        None => vocabulary.types.iter().position(|kind| *kind == UNKNOWN),
    };
    let mut bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unknown) = unknown.and_then(|id| vocabulary.tokens.get(id)) {
        bpe = bpe.unk_token(unknown.clone());
    }
    let bpe = bpe.build().map_err(|e| vocabulary.invalid(MERGES, e))?;

    let key = "tokenizer.ggml.add_space_prefix";
    let has_prefix = file.boolean(key)?.unwrap_or(true);
    let bad = |e: tokenizers::Error| vocabulary.invalid(key, e);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(BLANK, " ").map_err(bad)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if has_prefix {
        normalizers.push(Prepend::new(BLANK.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(Replace::new(" ", BLANK).map_err(bad)?.into());
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(bad)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    tokenizer
        .add_tokens(vocabulary.added()?)
        .map_err(|e| vocabulary.invalid(TYPES, e))?;
    Ok(tokenizer)
}

/// Gemma's files spell tokens of several blanks with real blanks. In the text they are merged like
/// other tokens, from blanks as sentencepiece spells them.
fn with_spelled_blanks<'a>(vocabulary: &Vocabulary<'a>) -> Vocabulary<'a> {
    let is_blank = |token: &String| !token.is_empty() && token.chars().all(|c| c == ' ');
    let mut tokens = vocabulary.tokens.clone();
    if tokens.iter().any(is_blank) {
        for token in tokens.to_mut().iter_mut().filter(|token| is_blank(token)) {
            *token = token.replace(' ', BLANK);
        }
    }
    Vocabulary {
        file: vocabulary.file,
        tokens,
        types: vocabulary.types.clone(),
    }
}

/// The merges that a vocabulary with scores implies, best first.
///
/// In Gemma's files the scores do not order the merges; the ids do. Its tokens of several blanks are
/// user-defined and are found before all others, the longest first.
fn merges(vocabulary: &Vocabulary<'_>, by_id: bool) -> Result<Vec<(String, String)>, LoadError> {
    let scores = scores(vocabulary)?;
    let mut pieces = Vec::new();
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.types);
    for ((id, (token, kind)), score) in tokens.enumerate().zip(scores) {
        let score = if by_id { 0.0 } else { score };
        let rank = match *kind {
            NORMAL => Rank::Score(Reverse(Score(score)), id),
            USER_DEFINED if token.split(BLANK).all(str::is_empty) => {
                Rank::Blanks(Reverse(token.len()))
            }
            _ => continue,
        };
        pieces.push((rank, token.as_str()));
    }
    let known: HashSet<&str> = pieces.iter().map(|(_, token)| *token).collect();
    // Looking a text up takes as long as it is: only where one of its length is there.
    let lengths: HashSet<usize> = known.iter().map(|token| token.len()).collect();
    let mut merges = Vec::new();
    for (rank, token) in pieces {
        for (place, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(place);
            let has_length = |part: &str| lengths.contains(&part.len());
            if !has_length(left) || !has_length(right) {
                continue;
            }
            if known.contains(left) && known.contains(right) {
                merges.push((rank, Reverse(left.len()), left, right));
            }
        }
    }
    merges.sort_unstable();
    let texts = merges.into_iter();
    Ok(texts
        .map(|(.., left, right)| (left.to_owned(), right.to_owned()))
        .collect())
}

/// Which merge comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Blanks(Reverse<usize>),
    Score(Reverse<Score>, usize),
}

/// A finite number.
#[derive(Debug, Clone, Copy)]
struct Score(f32);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// One finite score for each token.
fn scores(vocabulary: &Vocabulary<'_>) -> Result<Vec<f32>, LoadError> {
    let value = vocabulary
        .file
        .require(SCORES, vocabulary.file.get(SCORES))?;
    let GgufValue::Array(GgufArray::F32(scores)) = value else {
        return Err(vocabulary.invalid(SCORES, "expected an array of single-precision numbers"));
    };
    if scores.len() != vocabulary.tokens.len() {
        let (scores, tokens) = (scores.len(), vocabulary.tokens.len());
        return Err(vocabulary.invalid(SCORES, format!("{scores} scores for {tokens} tokens")));
    }
    if let Some(id) = scores.iter().position(|score| !score.is_finite()) {
        let token = vocabulary.tokens.get(id).map_or("", String::as_str);
        return Err(vocabulary.invalid(
            SCORES,
            format!("the score of token {id} `{token}` is no number"),
        ));
    }
    Ok(scores.clone())
}
