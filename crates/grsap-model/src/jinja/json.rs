use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::python::float;

/// So much text costs one of a template's fuel.
const BYTES_OF_FUEL: usize = 64;

/// Lists in lists deeper than this are refused.
const DEEPEST: usize = 100;

/// Python's `json.dumps(value, ...)` with the arguments that transformers gives to templates.
pub(super) fn to_json(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let keyword: Option<bool> = kwargs.get("ensure_ascii")?;
    let indent: Option<Value> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let sort_keys: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(indent.as_usize().unwrap_or(0).min(64)),
        }),
    };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(failed("tojson takes two separators")),
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let mut writer = Writer {
        state,
        out: String::new(),
        indent,
        item,
        key,
        ensure_ascii: ensure_ascii.or(keyword).unwrap_or(false),
        sort_keys: sort_keys.unwrap_or(false),
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

fn failed(reason: &'static str) -> Error {
    Error::new(ErrorKind::BadSerialization, reason)
}

struct Writer<'a, 'env> {
    state: &'a State<'a, 'env>,
    out: String,
    indent: Option<String>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(failed("tojson: nested too deeply"));
        }
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list('{', '}', keys, depth, |writer, key| {
                    writer.string(&key_text(key)?)?;
                    let separator = writer.key.clone();
                    writer.push(&separator)?;
                    writer.value(&value.get_item(key)?, depth + 1)
                })
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect();
                self.list('[', ']', items, depth, |writer, item| {
                    writer.value(item, depth + 1)
                })
            }
            _ => match value.as_str() {
                Some(text) => self.string(text),
                None => self.push(&scalar(value)?),
            },
        }
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: Vec<Value>,
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.item.clone();
                self.push(&separator)?;
            }
            self.new_line(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = self.indent.clone() {
            let len = indent.len().saturating_mul(depth);
            self.state.consume_fuel((len / BYTES_OF_FUEL) as u64)?;
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
        Ok(())
    }

    /// Text costs what it costs elsewhere in a template.
    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text)?;
        self.out.push_str(text);
        Ok(())
    }

    fn pay(&self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel((text.len() / BYTES_OF_FUEL) as u64)
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a text cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => scalar(key),
    }
}

/// A number, a truth value or nothing.
fn scalar(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool if value.is_true() => Ok("true".into()),
        ValueKind::Bool => Ok("false".into()),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if number.is_nan() => Ok("NaN".into()),
            Ok(number) if number.is_infinite() && number > 0.0 => Ok("Infinity".into()),
            Ok(number) if number.is_infinite() => Ok("-Infinity".into()),
            Ok(number) => Ok(float(number)),
            Err(_) => Ok(value.to_string()),
        },
        _ => Err(failed("tojson: not a value of JSON")),
    }
}
