use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::DataError;

/// One row of a table, which knows where it stands.
#[derive(Debug, Clone)]
pub(crate) struct TableRow {
    pub(super) path: Arc<Path>,
    /// The line, or the number of the row where the form has no lines; counted from 1.
    pub(super) line: usize,
    pub(super) fields: Map<String, Value>,
}

impl TableRow {
    /// A text that must be there and not be blank.
    pub(crate) fn text(&self, field: &'static str) -> Result<&str, DataError> {
        match self.value(field)? {
            Value::String(text) if !text.trim().is_empty() => Ok(text),
            Value::String(_) => Err(self.error(field, "it is blank")),
            value => Err(self.error(field, format!("expected text, got {}", kind(value)))),
        }
    }

    /// A text that may be null or blank; its column must be there.
    pub(crate) fn optional_text(&self, field: &'static str) -> Result<Option<&str>, DataError> {
        match self.value(field)? {
            Value::Null => Ok(None),
            Value::String(text) if text.trim().is_empty() => Ok(None),
            _ => self.text(field).map(Some),
        }
    }

    /// A text whose column may be missing.
    pub(crate) fn extra_text(&self, field: &'static str) -> Result<Option<&str>, DataError> {
        if self.has(field) {
            self.optional_text(field)
        } else {
            Ok(None)
        }
    }

    /// A truth value: also 0 and 1, and any of these as text.
    pub(crate) fn flag(&self, field: &'static str) -> Result<bool, DataError> {
        let value = self.value(field)?;
        let flag = match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Value::String(text) => match text.trim().to_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        flag.ok_or_else(|| self.error(field, format!("expected true or false, got {value}")))
    }

    /// A whole number, also as text.
    pub(crate) fn integer(&self, field: &'static str) -> Result<i64, DataError> {
        let value = self.value(field)?;
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.error(field, format!("expected a whole number, got {value}")))
    }

    /// One of two words: true for `yes`, false for `no`, in any case.
    pub(crate) fn label(
        &self,
        field: &'static str,
        yes: &str,
        no: &str,
    ) -> Result<bool, DataError> {
        let text = self.text(field)?;
        let is = |word: &str| text.trim().eq_ignore_ascii_case(word);
        match (is(yes), is(no)) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            _ => Err(self.error(field, format!("expected {yes:?} or {no:?}, got {text:?}"))),
        }
    }

    /// As [`label`](Self::label), `None` for null or blank.
    pub(crate) fn optional_label(
        &self,
        field: &'static str,
        yes: &str,
        no: &str,
    ) -> Result<Option<bool>, DataError> {
        match self.optional_text(field)? {
            None => Ok(None),
            Some(_) => self.label(field, yes, no).map(Some),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, field: &'static str) -> Result<Vec<String>, DataError> {
        let texts = self.value(field)?.as_array().and_then(|values| {
            let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| self.error(field, "expected a list of texts"))
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Any value. A missing column is an error that names those that are there.
    pub(crate) fn value(&self, field: &'static str) -> Result<&Value, DataError> {
        self.fields.get(field).ok_or_else(|| {
            let there: Vec<&str> = self.fields.keys().map(String::as_str).collect();
            let reason = format!("it is missing; there are: {}", there.join(", "));
            self.error(field, reason)
        })
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.fields)
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }

    pub(crate) fn error(&self, field: &'static str, reason: impl Into<String>) -> DataError {
        DataError::Field {
            path: self.path.to_path_buf(),
            line: self.line,
            field,
            reason: reason.into(),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(fields: Value) -> TableRow {
        let Value::Object(fields) = fields else {
            panic!("not an object")
        };
        TableRow {
            path: Path::new("t.json").into(),
            line: 3,
            fields,
        }
    }

    #[test]
    fn values_are_read_in_their_spellings() {
        let row = row(
            json!({"t": "a", "b": " ", "n": null, "yes": "True", "no": 0, "i": "7", "l": ["x"]}),
        );
        assert_eq!(row.text("t").unwrap(), "a");
        assert_eq!(row.optional_text("b").unwrap(), None);
        assert_eq!(row.optional_text("n").unwrap(), None);
        assert_eq!(row.extra_text("none").unwrap(), None);
        assert!(row.flag("yes").unwrap() && !row.flag("no").unwrap());
        assert_eq!(row.integer("i").unwrap(), 7);
        assert_eq!(row.texts("l").unwrap(), ["x"]);
        assert!(row.label("t", "A", "b").unwrap());
        assert_eq!(row.optional_label("n", "a", "b").unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let row = row(json!({"t": 1, "b": "", "l": [1], "w": "maybe"}));
        let errors = [
            row.text("q").unwrap_err(),
            row.text("t").unwrap_err(),
            row.text("b").unwrap_err(),
            row.optional_text("q").unwrap_err(),
            row.flag("w").unwrap_err(),
            row.integer("w").unwrap_err(),
            row.texts("l").unwrap_err(),
            row.label("w", "yes", "no").unwrap_err(),
        ];
        let expected = [
            "field q: it is missing; there are: t, b, l, w",
            "field t: expected text, got a number",
            "field b: it is blank",
            "field q: it is missing; there are: t, b, l, w",
            "field w: expected true or false, got \"maybe\"",
            "field w: expected a whole number, got \"maybe\"",
            "field l: expected a list of texts",
            "field w: expected \"yes\" or \"no\", got \"maybe\"",
        ];
        for (error, expected) in errors.iter().zip(expected) {
            assert_eq!(error.to_string(), format!("t.json:3: {expected}"));
        }
    }
}
