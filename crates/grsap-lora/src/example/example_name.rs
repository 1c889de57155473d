use std::fmt;

use super::sft_example::SftExample;

/// Which example an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleName {
    /// Its index in the training set, or among all examples that were given.
    pub index: usize,
    /// Its [id](crate::SftExample::id), if it has one.
    pub id: Option<String>,
}

impl ExampleName {
    pub(crate) fn of(index: usize, example: &SftExample) -> Self {
        Self {
            index,
            id: example.id().map(str::to_owned),
        }
    }
}

/// `7`, or `7 (id gsm8k-0012)`.
impl fmt::Display for ExampleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)?;
        match &self.id {
            Some(id) => write!(f, " (id {id})"),
            None => Ok(()),
        }
    }
}
