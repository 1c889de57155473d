/// The text before the quotation mark that closes it, trimmed; `None` when nothing closes it.
///
/// The opening mark is not part of `text`: it ends the prefill. A straight quote closes unless a
/// backslash stands before it; then it is part of the text and the backslash is dropped. A curly
/// closing quote closes unless it belongs to an opening quote inside the text: “…”, or „…“.
///
/// # Examples
///
/// ```
/// use grsap_synth::parse_quote;
///
/// assert_eq!(parse_quote(r#"Where is it?" I said no"#).as_deref(), Some("Where is it?"));
/// assert_eq!(parse_quote(r#"What is \"it\"?" no"#).as_deref(), Some(r#"What is "it"?"#));
/// assert_eq!(parse_quote("What is “it”?” no").as_deref(), Some("What is “it”?"));
/// assert_eq!(parse_quote("Where is it?"), None);
/// ```
pub fn parse_quote(text: &str) -> Option<String> {
    let mut query = String::with_capacity(text.len());
    let mut is_escaped = false;
    let mut open = OpenQuotes::default();
    for c in text.chars() {
        match c {
            '"' if is_escaped => {
                query.pop();
            }
            '"' => return Some(query.trim().to_owned()),
            '”' if open.depth == 0 => return Some(query.trim().to_owned()),
            _ => {}
        }
        open.read(c);
        query.push(c);
        is_escaped = c == '\\' && !is_escaped;
    }
    None
}

/// What has to be put after a text that a sampler cut at a closing quote, if that quote did not
/// close it after all.
///
/// A sampler stops at the first `"` or `”` and leaves it out. The quote was part of the text when a
/// backslash stands before it, or when a curly quote is still open.
pub(crate) fn false_stop(text: &str) -> Option<char> {
    let num_backslashes = text.chars().rev().take_while(|c| *c == '\\').count();
    if num_backslashes % 2 == 1 {
        return Some('"');
    }
    let mut open = OpenQuotes::default();
    text.chars().for_each(|c| open.read(c));
    (open.depth > 0).then_some('”')
}

/// The curly quotes within a text that are still open.
#[derive(Default)]
struct OpenQuotes {
    depth: usize,
    last: Option<char>,
}

impl OpenQuotes {
    /// In German and other languages “ closes what „ opened, and stands behind a word or a full stop.
    fn read(&mut self, c: char) {
        let is_behind_word = self
            .last
            .is_some_and(|last| !last.is_whitespace() && !matches!(last, '“' | '„' | '(' | '['));
        match c {
            '„' => self.depth += 1,
            '“' if self.depth == 0 || !is_behind_word => self.depth += 1,
            '“' | '”' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.last = Some(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_closing_quote_ends_the_query() {
        let cases = [
            ("a b\" c \"d\"", Some("a b")),
            ("  a b \n\" c", Some("a b")),
            ("a b” c", Some("a b")),
            ("say “x” now\" c", Some("say “x” now")),
            ("say “x\" c", Some("say “x")),
            ("say \\\"x\\\" now\" c", Some("say \"x\" now")),
            // An escaped backslash escapes nothing.
            ("a \\\\\" c", Some("a \\\\")),
            ("a \\\\\\\" b\" c", Some("a \\\\\" b")),
            ("\"", Some("")),
            ("", None),
            ("no end", None),
            ("no \\\" end", None),
            ("no “ end ”", None),
            ("it's 5'\" tall", Some("it's 5'")),
            ("Was heißt „Schloss“?\" Nein", Some("Was heißt „Schloss“?")),
            ("say “x“ now” no", Some("say “x“ now")),
            (
                "如何制作“纸船”而不湿手？\" no",
                Some("如何制作“纸船”而不湿手？"),
            ),
            (
                "a scene—“The Boat”—with\" no",
                Some("a scene—“The Boat”—with"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_quote(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_stop_inside_the_text_is_seen() {
        let cases = [
            ("plain", None),
            ("say \\", Some('"')),
            ("say \\\\", None),
            ("say “x", Some('”')),
            ("say “x” now", None),
            ("Was heißt „Schloss“ auf Englisch?", None),
            ("say “x“ now", None),
            ("say „x", Some('”')),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(false_stop(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_escaping(text in "[a-z \\n\"é☂]{0,40}", tail in ".{0,20}") {
            let written = format!("{}\"{tail}", text.replace('"', "\\\""));
            prop_assert_eq!(parse_quote(&written), Some(text.trim().to_owned()));
        }

        #[test]
        fn a_query_never_depends_on_what_follows(text in ".{0,40}", a in ".{0,20}", b in ".{0,20}") {
            if parse_quote(&text).is_some() {
                prop_assert_eq!(parse_quote(&format!("{text}{a}")), parse_quote(&format!("{text}{b}")));
            }
        }

        #[test]
        fn stopping_at_the_quote_is_the_same_as_reading_past_it(
            text in "[a-z \\\\„“”\"]{0,30}",
        ) {
            // What a sampler with both stops makes of the text, continued while the stop is false.
            let mut seen = String::new();
            let mut rest = text.as_str();
            let stopped = loop {
                let Some(at) = rest.find(['"', '”']) else { break None };
                let mark = rest[at..].chars().next().unwrap();
                seen.push_str(&rest[..at]);
                rest = &rest[at + mark.len_utf8()..];
                match false_stop(&seen) {
                    Some(expected) if expected == mark => seen.push(mark),
                    // The sampler does not say which mark it stopped at: a straight quote inside
                    // open curly ones, or a curly one after a backslash, is read differently.
                    Some(_) => return Ok(()),
                    None => break Some(format!("{seen}{mark}")),
                }
            };
            let expected = parse_quote(&text);
            prop_assert_eq!(stopped.and_then(|s| parse_quote(&s)), expected);
        }
    }
}
