use std::fmt::{self, Write};

use super::escape::escape;

/// HTML or SVG under construction. Markup comes from this source alone: whatever is not known at
/// compile time is escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup as it stands.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Any text, in an element or a quoted attribute.
    pub(super) fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.0.push_str(&escape(text.as_ref()));
        self
    }

    /// A whole number.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{count}");
        self
    }

    /// A coordinate.
    pub(super) fn at(&mut self, coordinate: f64) -> &mut Self {
        let _ = write!(self.0, "{coordinate:.1}");
        self
    }

    /// Markup that was made before.
    pub(super) fn append(&mut self, markup: &Self) -> &mut Self {
        self.0.push_str(&markup.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
