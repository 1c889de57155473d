use serde::{Deserialize, Serialize};

/// How the answer is found in a response to a word problem.
///
/// The last two are the filters of lm-evaluation-harness's task `gsm8k` (version 3), for figures that
/// can be put beside others'. They compare spellings, so that "18.00" is not "18"; and what they do
/// not find is wrong there, where here it is unscored
/// (`UnparsedPolicy::CountAsNo` makes it wrong).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gsm8kExtraction {
    /// The number after the first `####`, else the last number, by its value.
    #[default]
    Lenient,
    /// `strict-match`: digits, points and commas after the first `#### `.
    StrictMatch,
    /// `flexible-extract`: the last run of digits, points, commas and dollar signs.
    FlexibleExtract,
}

/// The filter `strict-match`.
pub(super) fn strict_match(response: &str) -> Option<String> {
    let mut rest = response;
    loop {
        let (_, after) = rest.split_once("#### ")?;
        let unsigned = after.strip_prefix('-').unwrap_or(after);
        let len = run(unsigned, |c| c.is_ascii_digit() || matches!(c, '.' | ','));
        if len > 0 {
            let sign = after.len() - unsigned.len();
            return after.get(..sign + len).map(clean);
        }
        rest = after;
    }
}

/// The filter `flexible-extract`.
pub(super) fn flexible_extract(response: &str) -> Option<String> {
    let mut found = None;
    let mut rest = response;
    while let Some(first) = rest.chars().next() {
        let len = amount(rest);
        if let Some(text) = rest.get(..len).filter(|text| !text.is_empty()) {
            found = Some(text);
        }
        rest = rest.get(len.max(first.len_utf8())..).unwrap_or_default();
    }
    found.map(clean)
}

/// Bytes of the amount that `text` begins with: a minus sign at most, and then two or more of digits,
/// points, commas, dollar signs, or digits alone; 0 for none.
fn amount(text: &str) -> usize {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let sign = text.len() - unsigned.len();
    let wide = run(unsigned, |c| {
        c.is_ascii_digit() || matches!(c, '.' | ',' | '$')
    });
    match wide {
        2.. => sign + wide,
        1 if unsigned.starts_with(|c: char| c.is_ascii_digit()) => sign + 1,
        _ => 0,
    }
}

/// Bytes that `text` begins with and that `matches`, which is true of ASCII only.
fn run(text: &str, matches: impl Fn(char) -> bool) -> usize {
    text.find(|c| !matches(c)).unwrap_or(text.len())
}

/// Without commas, dollar signs and a point at the end.
pub(super) fn clean(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_with_a_number_counts() {
        let cases = [
            ("#### 18", Some("18")),
            ("a #### b\n#### -1,000.\n#### 2", Some("-1000")),
            ("####18", None),
            ("#### $18", None),
            ("18", None),
            ("#### -", None),
        ];
        for (text, expected) in cases {
            assert_eq!(strict_match(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_last_amount_counts() {
        let cases = [
            ("3 and 4.", Some("4")),
            ("It costs $1,000.", Some("1000")),
            ("-5", Some("-5")),
            ("7 -", Some("7")),
            ("wait...", Some("..")),
            ("5 $", Some("5")),
            ("none.", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(flexible_extract(text).as_deref(), expected, "{text:?}");
        }
    }
}
