/// Text for XML and HTML, in elements and in quoted attributes. Control characters, which XML
/// cannot carry, become blanks; line breaks and tabs stay.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_markup_or_xml_would_read() {
        assert_eq!(
            escape("<a href=\"x\">'&'\u{0}\u{1b}\u{85}\n\t\u{ffff}é"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;   \n\t é"
        );
    }
}
