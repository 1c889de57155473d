use sha2::{Digest, Sha256};

use super::error::SftError;
use crate::adapter::hex;

/// The group of examples that stand for the model's alignment data.
pub(crate) const REPLAY: &str = "replay";

/// One sequence to train on, with at least one target token.
///
/// # Examples
///
/// ```
/// use grsap_lora::SftExample;
///
/// let example = SftExample::new(vec![1, 5, 6, 2], vec![false, false, true, true])?;
/// assert_eq!(example.num_targets(), 2);
/// assert!(SftExample::new(vec![1, 5], vec![true, false]).is_err());
/// # Ok::<(), grsap_lora::SftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftExample {
    input_ids: Vec<u32>,
    is_target: Vec<bool>,
    id: Option<String>,
    group: Option<String>,
    pub(super) is_cut: bool,
}

impl SftExample {
    /// An example of tokens and whether each is a target. The first token is never one, as
    /// nothing predicts it.
    ///
    /// # Errors
    ///
    /// [`SftError::Lengths`] or [`SftError::NoTarget`].
    pub fn new(input_ids: Vec<u32>, mut is_target: Vec<bool>) -> Result<Self, SftError> {
        if input_ids.len() != is_target.len() {
            return Err(SftError::Lengths {
                num_tokens: input_ids.len(),
                num_flags: is_target.len(),
            });
        }
        if let Some(first) = is_target.first_mut() {
            *first = false;
        }
        if !is_target.contains(&true) {
            return Err(SftError::NoTarget {
                example: "example".into(),
                num_tokens: input_ids.len(),
            });
        }
        Ok(Self {
            input_ids,
            is_target,
            id: None,
            group: None,
            is_cut: false,
        })
    }

    /// Sets the name that errors call it by.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the group whose target tokens are counted together, such as `task` or `replay`.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The tokens.
    pub fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    /// Whether each token is a target. Not shifted: `is_target()[i]` speaks about `input_ids()[i]`.
    pub fn is_target(&self) -> &[bool] {
        &self.is_target
    }

    /// The name, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The group, if it has one.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Whether its end was cut off to fit [`SftConfig::max_length`](crate::SftConfig::max_length): it
    /// has lost targets, or the end of a turn.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// How many tokens are targets.
    pub fn num_targets(&self) -> usize {
        self.targets().count()
    }

    /// Positions and ids of the targets.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (usize, u32)> {
        let tokens = self.input_ids.iter().zip(&self.is_target).enumerate();
        tokens
            .filter(|(_, (_, is_target))| **is_target)
            .map(|(position, (id, _))| (position, *id))
    }

    /// SHA-256 over what training sees of the examples.
    pub(crate) fn digest(examples: &[Self]) -> String {
        let mut hash = Sha256::new();
        for example in examples {
            hash.update((example.input_ids.len() as u64).to_le_bytes());
            for (id, is_target) in example.input_ids.iter().zip(&example.is_target) {
                hash.update(id.to_le_bytes());
                hash.update([u8::from(*is_target)]);
            }
            let group = example.group.as_deref().unwrap_or_default();
            hash.update((group.len() as u64).to_le_bytes());
            hash.update(group.as_bytes());
        }
        hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_no_target() {
        let example = SftExample::new(vec![1, 2, 3], vec![true; 3]).unwrap();
        assert_eq!(example.targets().collect::<Vec<_>>(), [(1, 2), (2, 3)]);
    }

    #[test]
    fn an_example_without_a_target_is_an_error() {
        for (ids, flags) in [
            (vec![], vec![]),
            (vec![1], vec![true]),
            (vec![1, 2], vec![true, false]),
        ] {
            let error = SftExample::new(ids, flags).unwrap_err();
            assert!(matches!(error, SftError::NoTarget { .. }), "{error}");
        }
        let error = SftExample::new(vec![1, 2], vec![true]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "is_target has 1 entries, input_ids has 2"
        );
    }

    #[test]
    fn the_digest_sees_tokens_targets_groups_and_order() {
        let a = SftExample::new(vec![1, 2, 3], vec![false, true, true]).unwrap();
        let b = SftExample::new(vec![1, 2, 3], vec![false, false, true]).unwrap();
        let c = a.clone().with_group("replay");
        let digests = [
            SftExample::digest(&[a.clone(), b.clone()]),
            SftExample::digest(&[b.clone(), a.clone()]),
            SftExample::digest(&[c, b]),
            SftExample::digest(std::slice::from_ref(&a)),
        ];
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(
            SftExample::digest(std::slice::from_ref(&a)),
            SftExample::digest(&[a.with_id("named")])
        );
    }
}
