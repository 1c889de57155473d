/// Writing systems, as coarsely as needed to see a model fall out of one. What one language mixes
/// is one: Japanese and Chinese characters with kana.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Hebrew,
    Arabic,
    Indic,
    Thai,
    Hangul,
    HanKana,
    Other,
}

/// The script of a letter; `None` for digits, punctuation, symbols.
fn script(letter: char) -> Option<Script> {
    if !letter.is_alphabetic() {
        return None;
    }
    Some(match u32::from(letter) {
        // Latin, its extensions, and full-width forms.
        0..=0x24f | 0x1e00..=0x1eff | 0xff21..=0xff5a => Script::Latin,
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x400..=0x52f => Script::Cyrillic,
        0x590..=0x5ff => Script::Hebrew,
        0x600..=0x6ff | 0x750..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfeff => Script::Arabic,
        0x900..=0xdff => Script::Indic,
        0xe00..=0xeff => Script::Thai,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
        0x2e80..=0x312f | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff => {
            Script::HanKana
        }
        _ => Script::Other,
    })
}

/// The fraction of the letters of `response` in scripts that are neither the one most of its letters
/// are in nor any in `prompt`; 0 without letters.
pub(crate) fn foreign_letter_ratio(prompt: &str, response: &str) -> f64 {
    let mut known: Vec<Script> = prompt.chars().filter_map(script).collect();
    known.sort_unstable();
    known.dedup();
    let mut letters: Vec<Script> = response.chars().filter_map(script).collect();
    letters.sort_unstable();
    let runs = || letters.chunk_by(|a, b| a == b);
    let Some(main) = runs().max_by_key(|run| run.len()).and_then(<[_]>::first) else {
        return 0.0;
    };
    let num_foreign: usize = runs()
        .filter(|run| {
            run.first()
                .is_some_and(|script| script != main && !known.contains(script))
        })
        .map(<[_]>::len)
        .sum();
    num_foreign as f64 / letters.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_scripts_and_signs_have_none() {
        for (letter, expected) in [
            ('a', Some(Script::Latin)),
            ('é', Some(Script::Latin)),
            ('ж', Some(Script::Cyrillic)),
            ('λ', Some(Script::Greek)),
            ('א', Some(Script::Hebrew)),
            ('ب', Some(Script::Arabic)),
            ('क', Some(Script::Indic)),
            ('ท', Some(Script::Thai)),
            ('한', Some(Script::Hangul)),
            ('漢', Some(Script::HanKana)),
            ('か', Some(Script::HanKana)),
            ('ა', Some(Script::Other)),
            ('1', None),
            ('🦙', None),
            (' ', None),
        ] {
            assert_eq!(script(letter), expected, "{letter}");
        }
    }

    #[test]
    fn foreign_is_what_neither_side_explains() {
        assert_eq!(foreign_letter_ratio("", ""), 0.0);
        assert_eq!(foreign_letter_ratio("", "12 !"), 0.0);
        assert_eq!(foreign_letter_ratio("", "abc"), 0.0);
        assert_eq!(foreign_letter_ratio("", "abж"), 1.0 / 3.0);
        assert_eq!(foreign_letter_ratio("да", "abж"), 0.0);
    }
}
