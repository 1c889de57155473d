use std::fmt;

/// How many names of a kind the message has. The fields have all of them.
const SHOWN: usize = 8;

/// What is wrong with the tensors of a file, all of it: what the model asks for and the file lacks,
/// what the file has and the model does not know, what has another shape. All sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorProblems {
    /// Names that the file lacks.
    pub missing: Vec<String>,
    /// Names that the model has no place for.
    pub unexpected: Vec<String>,
    /// Tensors of another shape than the configuration asks for.
    pub misshapen: Vec<MisshapenTensor>,
    /// Whether the search was given up, as no file can have so much: there are more than these.
    pub is_cut: bool,
}

/// A tensor of another shape than the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisshapenTensor {
    /// The tensor.
    pub tensor: String,
    /// The shape asked for.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub got: Vec<usize>,
}

impl fmt::Display for MisshapenTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} instead of {:?}",
            self.tensor, self.got, self.expected
        )
    }
}

impl TensorProblems {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

/// The names of at most some tensors of each kind, and how many more there are.
impl fmt::Display for TensorProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.is_cut { "at least " } else { "" };
        let mut kinds = Kinds { separator };
        kinds.write(f, "missing", &self.missing)?;
        kinds.write(f, "unexpected", &self.unexpected)?;
        kinds.write(f, "misshapen", &self.misshapen)
    }
}

struct Kinds {
    separator: &'static str,
}

impl Kinds {
    fn write<T: fmt::Display>(
        &mut self,
        f: &mut fmt::Formatter<'_>,
        kind: &str,
        tensors: &[T],
    ) -> fmt::Result {
        if tensors.is_empty() {
            return Ok(());
        }
        let noun = if tensors.len() == 1 {
            "tensor"
        } else {
            "tensors"
        };
        write!(f, "{}{} {noun} {kind}: ", self.separator, tensors.len())?;
        self.separator = "; ";
        for (index, tensor) in tensors.iter().take(SHOWN).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{tensor}")?;
        }
        match tensors.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_with_a_count() {
        let names = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
        let mut problems = TensorProblems {
            missing: names(10),
            unexpected: names(1),
            misshapen: vec![MisshapenTensor {
                tensor: "m".into(),
                expected: vec![2, 3],
                got: vec![3, 2],
            }],
            is_cut: false,
        };
        assert_eq!(
            problems.to_string(),
            "10 tensors missing: t0, t1, t2, t3, t4, t5, t6, t7 and 2 more; \
             1 tensor unexpected: t0; 1 tensor misshapen: m [3, 2] instead of [2, 3]"
        );
        problems.missing.truncate(8);
        problems.unexpected.clear();
        problems.misshapen.clear();
        assert!(problems.to_string().ends_with("t7"));
        assert!(!problems.is_empty() && TensorProblems::default().is_empty());
    }
}
