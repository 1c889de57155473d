use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::load_error::LoadError;
use crate::tensor_problems::{MisshapenTensor, TensorProblems};
use crate::weights::TensorSource;

/// A configuration may ask for at most so many tensors that are not there before the search ends:
/// a file of some bytes can ask for billions.
const MAX_MISSING: usize = 4096;

/// Loads a model from `source`, after a first walk that reads no values and only asks what is there,
/// so that everything that is wrong is said at once and before the first value is read.
///
/// `load` must take its tensors from what it is given. `is_ignored` tells of tensors that a file may
/// have without any use for them.
///
/// # Errors
///
/// [`LoadError::Tensors`], and what `load` gives.
pub(crate) fn load_surveyed<T>(
    source: &dyn TensorSource,
    is_ignored: impl Fn(&str) -> bool,
    load: impl Fn(&dyn TensorSource) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let survey = Survey {
        source,
        asked: RefCell::default(),
        missing: RefCell::default(),
    };
    load(&survey)?;
    survey.check(is_ignored)?;
    load(source)
}

struct Survey<'a> {
    source: &'a dyn TensorSource,
    /// Shapes asked for, of tensors that are there.
    asked: RefCell<BTreeMap<String, Vec<usize>>>,
    missing: RefCell<BTreeSet<String>>,
}

impl Survey<'_> {
    fn problems(&self, is_ignored: impl Fn(&str) -> bool) -> TensorProblems {
        let asked = self.asked.borrow();
        let names = self.source.names().into_iter();
        let misshapen = asked.iter().filter_map(|(tensor, expected)| {
            let got = self.source.shape(tensor)?;
            (got != *expected).then(|| MisshapenTensor {
                tensor: tensor.clone(),
                expected: expected.clone(),
                got,
            })
        });
        TensorProblems {
            missing: self.missing.borrow().iter().cloned().collect(),
            unexpected: names
                .filter(|name| !asked.contains_key(name) && !is_ignored(name))
                .collect(),
            misshapen: misshapen.collect(),
            is_cut: false,
        }
    }

    fn error(&self, problems: TensorProblems) -> LoadError {
        LoadError::Tensors {
            path: self.source.path().to_owned(),
            problems: Box::new(problems),
        }
    }

    fn check(&self, is_ignored: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let problems = self.problems(is_ignored);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(self.error(problems))
        }
    }
}

impl TensorSource for Survey<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name)
    }

    fn ask(&self, name: &str, shape: &[usize]) -> Result<bool, LoadError> {
        if self.source.shape(name).is_some() {
            let mut asked = self.asked.borrow_mut();
            // A tensor that is asked for twice is misshapen if it is for one of them.
            let slot = asked
                .entry(name.to_owned())
                .or_insert_with(|| shape.to_owned());
            if self.source.shape(name).as_deref() == Some(slot) {
                shape.clone_into(slot);
            }
            return Ok(false);
        }
        let mut missing = self.missing.borrow_mut();
        missing.insert(name.to_owned());
        let is_cut = missing.len() > MAX_MISSING;
        drop(missing);
        if is_cut {
            // What was not asked for yet is no stranger.
            let problems = TensorProblems {
                is_cut,
                unexpected: Vec::new(),
                ..self.problems(|_| true)
            };
            return Err(self.error(problems));
        }
        Ok(false)
    }

    fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        self.source.read_f32(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::missing_tensor;

    struct Source(Vec<(&'static str, Vec<usize>)>);

    impl TensorSource for Source {
        fn path(&self) -> &Path {
            Path::new("x")
        }

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
        }

        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            let found = self.0.iter().find(|(n, _)| *n == name)?;
            Some(found.1.clone())
        }

        fn read_f32(&self, name: &str) -> Result<Vec<f32>, LoadError> {
            let shape = self
                .shape(name)
                .ok_or_else(|| missing_tensor(self.path(), name))?;
            Ok(vec![0.5; shape.iter().product()])
        }
    }

    fn take(source: &dyn TensorSource, name: &str, shape: &[usize]) -> Result<usize, LoadError> {
        if source.ask(name, shape)? {
            Ok(source.read_shaped(name, shape)?.len())
        } else {
            Ok(0)
        }
    }

    #[test]
    fn everything_that_is_wrong_is_listed_at_once() {
        let source = Source(vec![
            ("a", vec![2]),
            ("b", vec![2, 3]),
            ("c.inv_freq", vec![1]),
            ("d", vec![1]),
        ]);
        let ignored = |name: &str| name.ends_with("inv_freq");
        let load = |source: &dyn TensorSource| {
            take(source, "z", &[9])?;
            take(source, "b", &[3, 2])?;
            take(source, "y", &[9])?;
            take(source, "a", &[2])
        };
        let message = load_surveyed(&source, ignored, load)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "x: 2 tensors missing: y, z; 1 tensor unexpected: d; \
             1 tensor misshapen: b [2, 3] instead of [3, 2]"
        );
        let load = |source: &dyn TensorSource| {
            take(source, "b", &[2, 3])?;
            take(source, "d", &[1])?;
            take(source, "a", &[2])
        };
        assert_eq!(load_surveyed(&source, ignored, load).unwrap(), 2);
    }

    #[test]
    fn asking_for_far_too_much_ends() {
        let source = Source(vec![("a", vec![2])]);
        let load = |source: &dyn TensorSource| {
            (0..usize::MAX).try_for_each(|i| take(source, &format!("t{i}"), &[1]).map(drop))
        };
        let error = load_surveyed(&source, |_| false, load).unwrap_err();
        let LoadError::Tensors { problems, .. } = error else {
            panic!("{error}");
        };
        assert!(problems.is_cut && problems.unexpected.is_empty());
        assert_eq!(problems.missing.len(), MAX_MISSING + 1);
        let message = problems.to_string();
        assert!(
            message.starts_with("at least 4097 tensors missing: t0, "),
            "{message}"
        );
    }
}
