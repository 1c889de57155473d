//! What Python's values do in templates and `minijinja` does not.

use std::collections::HashSet;

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Whether Python's `str.strip` takes this character off.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A number as Python prints it.
pub(super) fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) && size.is_finite() {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    if number.is_nan() {
        return "nan".into();
    }
    format!("{number:?}")
}

/// The filter `trim`, with Python's idea of white space.
pub(super) fn trim(text: &Value, chars: Option<&str>) -> String {
    let owned = text.to_string();
    let text = text.as_str().unwrap_or(&owned);
    strip(text, chars, true, true).to_owned()
}

fn strip<'a>(text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let chars: Option<HashSet<char>> = chars.map(|chars| chars.chars().collect());
    let taken = |c: char| {
        chars
            .as_ref()
            .map_or_else(|| is_space(c), |chars| chars.contains(&c))
    };
    let text = if start {
        text.trim_start_matches(taken)
    } else {
        text
    };
    if end {
        text.trim_end_matches(taken)
    } else {
        text
    }
}

/// Methods of texts and lists; those that are not here are `minijinja-contrib`'s.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let known = match (value.kind(), value.as_str()) {
        (_, Some(text)) => text_method(text, method, args)?,
        (ValueKind::Seq, None) if method == "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            Some(Value::from(place.ok_or_else(not_found)?))
        }
        _ => None,
    };
    match known {
        Some(known) => Ok(known),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Value::from(strip(text, chars, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => {
            let (sep, most, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let keyword: Option<String> = kwargs.get("sep")?;
            let most = most.or(kwargs.get("maxsplit")?).unwrap_or(-1);
            kwargs.assert_all_used()?;
            // A negative number means no limit.
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let parts = match sep.or(keyword.as_deref()) {
                Some("") => return Err(invalid("empty separator")),
                Some(sep) => split(text, sep, most, method == "rsplit"),
                None => split_spaces(text, most, method == "rsplit"),
            };
            parts.into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (sep,): (&str,) = from_args(args)?;
            let parts = match method {
                "partition" => text.split_once(sep).map(|(a, b)| [a, sep, b]),
                _ => text.rsplit_once(sep).map(|(a, b)| [a, sep, b]),
            };
            let whole = match method {
                "partition" => [text, "", ""],
                _ => ["", "", text],
            };
            Value::from(Tuple::from(parts.unwrap_or(whole).map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let place = match method {
                "index" => text.find(wanted),
                _ => text.rfind(wanted),
            };
            let before = place.and_then(|place| text.get(..place));
            Value::from(before.ok_or_else(not_found)?.chars().count())
        }
        "isspace" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swapped = text.chars().map(|c| match c.is_uppercase() {
                true => c.to_lowercase().to_string(),
                false => c.to_uppercase().to_string(),
            });
            Value::from(swapped.collect::<String>())
        }
        _ => return Ok(None),
    }))
}

/// At most `most` cuts, from the left or from the right.
fn split<'a>(text: &'a str, sep: &str, most: usize, right: bool) -> Vec<&'a str> {
    if right {
        let mut parts: Vec<_> = text.rsplitn(most.saturating_add(1), sep).collect();
        parts.reverse();
        parts
    } else {
        text.splitn(most.saturating_add(1), sep).collect()
    }
}

/// Cuts at runs of white space. Only the far end of what is left uncut keeps its own.
fn split_spaces(text: &str, most: usize, right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !right, right);
    while !rest.is_empty() && parts.len() < most {
        let cut = match right {
            false => rest.split_once(is_space),
            true => rest.rsplit_once(is_space).map(|(rest, part)| (part, rest)),
        };
        let (part, after) = cut.unwrap_or((rest, ""));
        parts.push(part);
        rest = strip(after, None, !right, right);
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if right {
        parts.reverse();
    }
    parts
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn not_found() -> Error {
    invalid("index: not found")
}
