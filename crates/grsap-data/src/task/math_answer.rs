/// The usual normal form of an answer to a MATH problem, so that equal answers are more often equal
/// texts. `None` for the few texts that the rules cannot take, such as `\sqrt` with nothing after it.
///
/// In turn: line breaks, `\!`, `\left` and `\right`, degree and percent signs and `\$` go; `tfrac`
/// and `dfrac` are `frac`; a unit in `\text{ ...}` at the end goes; a number that begins with a point
/// gets a 0; `x=` before the value goes; `\sqrt3` is `\sqrt{3}`; spaces go; `\frac12` is
/// `\frac{1}{2}`; `0.5` is `\frac{1}{2}`; a fraction of two whole numbers `a/b` is `\frac{a}{b}`.
///
/// # Examples
///
/// ```
/// use grsap_data::normalise_math_answer;
///
/// assert_eq!(normalise_math_answer("x = \\tfrac12").as_deref(), Some("\\frac{1}{2}"));
/// assert_eq!(normalise_math_answer("90^\\circ").as_deref(), Some("90"));
/// assert_eq!(normalise_math_answer("\\sqrt"), None);
/// ```
///
/// # Source
///
/// The rules of Hendrycks et al., MATH (arXiv 2103.03874), as lm-evaluation-harness's task
/// `hendrycks_math` applies them; equal to its result on the table of the fixture `lm_eval_answers`,
/// oddities included (`\sqrt 3` becomes `\sqrt{}3`).
pub fn normalise_math_answer(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for (from, to) in [
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ] {
        text = text.replace(from, to);
    }
    if let Some((value, unit)) = text.split_once("\\text{ ") {
        if unit.contains("\\text{ ") {
            return None;
        }
        text = value.to_owned();
    }
    text = text
        .replace("\\%", "")
        .replace(" .", " 0.")
        .replace("{.", "{0.");
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((name, value)) = text.split_once('=')
        && !value.contains('=')
        && name.chars().count() <= 2
    {
        text = value.to_owned();
    }
    text = brace_roots(&text)?.replace(' ', "");
    text = brace_fractions(&text)?;
    if text == "0.5" {
        text = "\\frac{1}{2}".to_owned();
    }
    slash_fraction(text)
}

/// Whether two answers are the same: by their normal forms, or as they are written where one of them
/// has none.
pub fn math_answers_equal(a: &str, b: &str) -> bool {
    match (normalise_math_answer(a), normalise_math_answer(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The content of the last `\boxed{...}`, or what follows the last `\boxed ` up to a `$`.
///
/// `None` where there is none or its brace is never closed.
pub fn last_boxed(text: &str) -> Option<&str> {
    if let Some((_, bare)) = text.rsplit_once("\\boxed ") {
        return bare.split('$').next();
    }
    let (_, rest) = text.rsplit_once("\\boxed")?;
    let content = rest.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, c) in content.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return content.get(..at);
        }
    }
    None
}

/// `\sqrt3` as `\sqrt{3}`.
fn brace_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let first = part.chars().next()?;
        let rest = part.get(first.len_utf8()..)?;
        out.push_str("\\sqrt");
        if first == '{' {
            out.push_str(part);
        } else {
            out.push_str(&format!("{{{first}}}{rest}"));
        }
    }
    Some(out)
}

/// `\frac12` and `\frac1{2}` as `\frac{1}{2}`. A fraction with one sign after it leaves the whole text
/// as it is.
fn brace_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let mut chars = part.chars();
        let first = chars.next()?;
        out.push_str("\\frac");
        if first == '{' {
            out.push_str(part);
            continue;
        }
        let Some(second) = chars.next() else {
            return Some(text.to_owned());
        };
        let rest = chars.as_str();
        if second == '{' {
            out.push_str(&format!("{{{first}}}{{{rest}"));
        } else {
            out.push_str(&format!("{{{first}}}{{{second}}}{rest}"));
        }
    }
    Some(out)
}

/// `a/b` of two whole numbers as a fraction; `None` where a part is no whole number.
fn slash_fraction(text: String) -> Option<String> {
    let Some((above, below)) = text.split_once('/') else {
        return Some(text);
    };
    if below.contains('/') {
        return Some(text);
    }
    match (whole_number(above)?, whole_number(below)?) {
        (true, true) => Some(format!("\\frac{{{above}}}{{{below}}}")),
        _ => Some(text),
    }
}

/// Whether a whole number is written in the usual way, without a plus sign, zeros in front or
/// underscores; `None` for what is no whole number.
fn whole_number(text: &str) -> Option<bool> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut groups = digits.split('_');
    let is_number = groups.all(|group| !group.is_empty() && group.chars().all(char::is_numeric));
    if !is_number {
        return None;
    }
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('+')
        && (!digits.starts_with('0') || text == "0");
    Some(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_a_normal_form() {
        let cases = [
            ("1/2", Some("\\frac{1}{2}")),
            (" \\dfrac 12 ", Some("\\frac{1}{2}")),
            ("\\left( 3, \\sqrt2 \\right)", Some("(3,\\sqrt{2})")),
            ("12 \\text{ cm}", Some("12")),
            ("\\$12.50", Some("12.50")),
            ("30\\%", Some("30")),
            ("k=-3", Some("-3")),
            ("", Some("")),
            ("a/b", None),
            ("\\frac", None),
            ("1 \\text{ m} \\text{ s}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(normalise_math_answer(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_without_a_normal_form_are_equal_to_themselves() {
        assert!(math_answers_equal("a/b", "a/b"));
        assert!(!math_answers_equal("a/b", "a /b"));
        assert!(math_answers_equal("0.5", "\\tfrac{1}{2}"));
        assert!(!math_answers_equal("0.25", "\\frac{1}{4}"));
    }

    #[test]
    fn hostile_text_does_not_panic() {
        for text in [
            "\\frac{",
            "\\frac∞",
            "\\sqrt∞∞",
            "∞/∞",
            "\\boxed{{}",
            "\\boxed{}}",
            "=",
            "/",
            "_/_",
        ] {
            let _ = normalise_math_answer(text);
            let _ = last_boxed(text);
        }
        assert_eq!(last_boxed("\\boxed{∞}"), Some("∞"));
    }
}
