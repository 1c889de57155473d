/// A text with places to be filled in, such as `{domain}`.
///
/// # Examples
///
/// ```
/// use grsap_synth::Template;
///
/// let template = Template::new("prefill", "About {domain}: ", &["domain"])?;
/// assert_eq!(template.fill(&[("domain", "theft")]), "About theft: ");
///
/// let error = Template::new("prefill", "About {topic}", &["domain"]).unwrap_err();
/// assert_eq!(error.to_string(), "prefill: unknown placeholder {topic}, it may have {domain}");
/// # Ok::<(), grsap_synth::TemplateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(String),
}

impl Template {
    /// Reads `text`. A `{word}` is a placeholder and must be one of `allowed`; other braces are
    /// plain text.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Unknown`] names `field` and the placeholder.
    pub fn new(
        field: &'static str,
        text: &str,
        allowed: &[&'static str],
    ) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            let word = after.split_once('}').filter(|(word, _)| {
                !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_')
            });
            let Some((word, tail)) = word else {
                plain.push('{');
                rest = after;
                continue;
            };
            if !allowed.contains(&word) {
                return Err(TemplateError::Unknown {
                    field,
                    placeholder: word.to_owned(),
                    allowed: list(allowed),
                });
            }
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Place(word.to_owned()));
            rest = tail;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// Whether `placeholder` occurs.
    pub fn has(&self, placeholder: &str) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Place(name) if name == placeholder))
    }

    /// Demands that `placeholder` occurs.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Missing`] when it does not.
    pub fn require(
        self,
        field: &'static str,
        placeholder: &'static str,
    ) -> Result<Self, TemplateError> {
        if self.has(placeholder) {
            Ok(self)
        } else {
            Err(TemplateError::Missing { field, placeholder })
        }
    }

    /// The text with the values in place. Braces inside values stay as they are.
    pub fn fill(&self, values: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Place(name) => {
                    let value = values.iter().find(|(key, _)| key == name);
                    text.push_str(value.map_or("", |(_, value)| value));
                }
            }
        }
        text
    }
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
    names.join(", ")
}

/// A template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A placeholder that nothing is known for.
    #[error("{field}: unknown placeholder {{{placeholder}}}, it may have {allowed}")]
    Unknown {
        /// The template.
        field: &'static str,
        /// What stands in the braces.
        placeholder: String,
        /// What may stand there.
        allowed: String,
    },
    /// A placeholder that must be there is not.
    #[error("{field}: placeholder {{{placeholder}}} is missing")]
    Missing {
        /// The template.
        field: &'static str,
        /// What is missing.
        placeholder: &'static str,
    },
    /// A prefill does not end with an opening quotation mark, so no query could be cut out.
    #[error("{field}: must end with an opening quotation mark, got {got:?}")]
    NoOpenQuote {
        /// The template.
        field: &'static str,
        /// The template's text.
        got: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once() {
        let template = Template::new("t", "{a}-{b}-{a}{", &["a", "b"]).unwrap();
        let filled = template.fill(&[("a", "{b}"), ("b", "{a}")]);
        assert_eq!(filled, "{b}-{a}-{b}{");
    }

    #[test]
    fn braces_that_are_no_placeholder_stay() {
        let text = "{} { } {not a place} }{ {";
        let template = Template::new("t", text, &[]).unwrap();
        assert_eq!(template.fill(&[]), text);
    }

    #[test]
    fn mistakes_are_named() {
        let template = Template::new("user", "no place", &["domain"]).unwrap();
        let error = template.require("user", "domain").unwrap_err();
        assert_eq!(error.to_string(), "user: placeholder {domain} is missing");
        let error = Template::new("user", "{domian}", &["domain"]).unwrap_err();
        assert!(matches!(error, TemplateError::Unknown { .. }));
    }
}
