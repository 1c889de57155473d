use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What it takes to repeat a run, beside the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunProvenance {
    /// The command line.
    pub command: String,
    /// Every seed that was used.
    pub seeds: Vec<u64>,
    /// Versions of the program and of what it stands on.
    pub versions: BTreeMap<String, String>,
    /// SHA-256 of models, adapters and data, by what they are.
    pub sha256: BTreeMap<String, String>,
}

impl RunProvenance {
    /// Of this process: its command line, and the version of this crate.
    pub fn of_this_process() -> Self {
        let arguments: Vec<String> = std::env::args_os()
            .map(|argument| quoted(&argument.to_string_lossy()))
            .collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            command: arguments.join(" "),
            versions: BTreeMap::from([(env!("CARGO_PKG_NAME").to_owned(), version)]),
            ..Self::default()
        }
    }
}

/// As a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("--seed=1"), "--seed=1");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert!(!RunProvenance::of_this_process().command.is_empty());
    }
}
