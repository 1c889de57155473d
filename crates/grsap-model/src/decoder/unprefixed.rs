use std::path::Path;

use crate::load_error::LoadError;
use crate::weights::TensorSource;

/// The tensors of a file whose names lack a common first part, under their full names.
pub(super) struct Unprefixed<'a> {
    source: &'a dyn TensorSource,
    prefix: &'a str,
}

impl<'a> Unprefixed<'a> {
    pub(super) fn new(source: &'a dyn TensorSource, prefix: &'a str) -> Self {
        Self { source, prefix }
    }

    fn short<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(self.prefix).unwrap_or(name)
    }
}

impl TensorSource for Unprefixed<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        // The head has no first part anyhow.
        let full = |name: String| match name.starts_with("lm_head.") {
            true => name,
            false => format!("{}{name}", self.prefix),
        };
        let mut names: Vec<String> = self.source.names().into_iter().map(full).collect();
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(self.short(name))
    }

    fn ask(&self, name: &str, shape: &[usize]) -> Result<bool, LoadError> {
        self.source.ask(self.short(name), shape)
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        self.source.read_f32(self.short(name))
    }
}
