use serde::{Deserialize, Serialize};

/// How often a judge said yes and no to what is and is not.
///
/// # Examples
///
/// ```
/// use grsap_safety::Confusion;
///
/// let confusion = Confusion::count([(true, true), (true, false), (false, false), (false, false)]);
/// assert_eq!(confusion.accuracy(), Some(0.75));
/// assert_eq!(confusion.false_positive, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Yes, and rightly.
    pub true_positive: usize,
    /// Yes, but wrongly.
    pub false_positive: usize,
    /// No, and rightly.
    pub true_negative: usize,
    /// No, but wrongly.
    pub false_negative: usize,
}

impl Confusion {
    /// Counts pairs of what was said and what is.
    pub fn count(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut confusion = Self::default();
        for (called, label) in pairs {
            confusion.add(called, label);
        }
        confusion
    }

    pub(crate) fn add(&mut self, called: bool, label: bool) {
        let count = match (called, label) {
            (true, true) => &mut self.true_positive,
            (true, false) => &mut self.false_positive,
            (false, false) => &mut self.true_negative,
            (false, true) => &mut self.false_negative,
        };
        *count += 1;
    }

    /// All examples.
    pub fn total(&self) -> usize {
        self.num_right() + self.false_positive + self.false_negative
    }

    /// The fraction that is right; `None` without examples.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.num_right(), self.total())
    }

    /// Of those called positive, the fraction that is; `None` where none is called so.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// Of the positive, the fraction called so; `None` where none is positive.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    fn num_right(&self) -> usize {
        self.true_positive + self.true_negative
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_rate() {
        let nothing = Confusion::default();
        assert_eq!(nothing.accuracy(), None);
        assert_eq!((nothing.precision(), nothing.recall()), (None, None));
    }

    #[test]
    fn rates_by_their_definitions() {
        let confusion = Confusion {
            true_positive: 3,
            false_positive: 1,
            true_negative: 4,
            false_negative: 2,
        };
        assert_eq!(confusion.total(), 10);
        assert_eq!(confusion.accuracy(), Some(0.7));
        assert_eq!(confusion.precision(), Some(0.75));
        assert_eq!(confusion.recall(), Some(0.6));
    }
}
