//! `{% generation %}` blocks, which mark what the assistant writes.

use std::iter::once;

/// The variables that are printed where a block starts and ends. Undefined ones print nothing.
pub(crate) const START_MARK: &str = "generation_start_mark";
pub(crate) const END_MARK: &str = "generation_end_mark";

/// A template with `{% generation %}` blocks as blocks that Jinja has: they print the two marks and
/// have a scope of their own. The signs that control white space stay where they were.
pub(super) fn with_marks(source: &str) -> String {
    pieces(source)
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Start(left, right) => {
                format!("{{%{left} with %}}{{{{ {START_MARK} }}}}{{% if true {right}%}}")
            }
            Piece::End(left, right) => {
                format!("{{%{left} endif %}}{{{{ {END_MARK} }}}}{{% endwith {right}%}}")
            }
        })
        .collect()
}

/// Whether a template says itself what the assistant writes.
pub(crate) fn has_generation_tags(source: &str) -> bool {
    pieces(source).any(|piece| matches!(piece, Piece::Start(..)))
}

/// A part of a template; a tag with its signs.
enum Piece<'a> {
    Text(&'a str),
    Start(&'a str, &'a str),
    End(&'a str, &'a str),
}

fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut tags = source.split("{%");
    let first = tags.next().map(Piece::Text);
    let rest = tags.flat_map(|part| {
        let (tag, after) = match part.split_once("%}") {
            Some((inside, after)) => (tag(inside), after),
            None => (None, part),
        };
        match tag {
            Some(tag) => once(tag).chain(once(Piece::Text(after))),
            // As it was, with what `split` took away.
            None => once(Piece::Text("{%")).chain(once(Piece::Text(part))),
        }
    });
    first.into_iter().chain(rest)
}

fn tag(inside: &str) -> Option<Piece<'_>> {
    let sign = |c: char| c == '-' || c == '+';
    let name = inside.trim_start_matches(sign);
    let left = inside.strip_suffix(name)?;
    let name = name.trim_end_matches(sign);
    let right = inside.strip_prefix(left)?.strip_prefix(name)?;
    match name.trim() {
        "generation" => Some(Piece::Start(left, right)),
        "endgeneration" => Some(Piece::End(left, right)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_stay_and_other_tags_too() {
        let source = "a {%- generation -%} b {% endgeneration +%}\nc{% if true %}d{% endif %}";
        assert_eq!(
            with_marks(source),
            "a {%- with %}{{ generation_start_mark }}{% if true -%} b \
             {% endif %}{{ generation_end_mark }}{% endwith +%}\nc{% if true %}d{% endif %}"
        );
        assert!(has_generation_tags(source));
        for other in [
            "",
            "{%",
            "{% %}",
            "{%}",
            "%}",
            "{% generations %}",
            "{%-%}{%+-%}",
            "{% endgeneration",
        ] {
            assert_eq!(with_marks(other), other);
            assert!(!has_generation_tags(other));
        }
    }
}
