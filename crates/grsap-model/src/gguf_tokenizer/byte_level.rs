use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::vocabulary::{MERGES, PRE, TYPES, Vocabulary};
use super::words::{Cut, Words};
use crate::load_error::LoadError;

/// Byte-level BPE, as in GPT-2.
pub(super) fn tokenizer(
    vocabulary: &Vocabulary<'_>,
    words: &Words,
) -> Result<Tokenizer, LoadError> {
    let ids = vocabulary.ids()?;
    let merges = vocabulary.merges(&ids)?;
    let merges = vocabulary.file.require(MERGES, merges)?;
    let added = vocabulary.added()?;
    let bpe = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(words.ignore_merges)
        .build()
        .map_err(|e| vocabulary.invalid(MERGES, e))?;

    let mut tokenizer = Tokenizer::new(bpe);
    if words.is_nfc {
        tokenizer
            .with_normalizer(Some(NFC))
            .map_err(|e| vocabulary.invalid(PRE, e))?;
    }
    let cuts = pre_tokenizer(words).map_err(|e| vocabulary.invalid(PRE, e))?;
    tokenizer.with_pre_tokenizer(Some(cuts));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    tokenizer
        .add_tokens(added)
        .map_err(|e| vocabulary.invalid(TYPES, e))?;
    Ok(tokenizer)
}

pub(super) fn pre_tokenizer(words: &Words) -> tokenizers::Result<Sequence> {
    let mut stages: Vec<PreTokenizerWrapper> = Vec::new();
    for cut in words.cuts {
        stages.push(match cut {
            Cut::Digits => Digits::new(true).into(),
            Cut::Gpt2 => ByteLevel::new(false, true, true).into(),
            Cut::Pattern(pattern) => {
                let pattern = SplitPattern::Regex((*pattern).to_owned());
                Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into()
            }
        });
    }
    // GPT-2's pattern spells the words in the byte alphabet, too.
    if !matches!(words.cuts.last(), Some(Cut::Gpt2)) {
        stages.push(ByteLevel::new(false, true, false).into());
    }
    Ok(Sequence::new(stages))
}
