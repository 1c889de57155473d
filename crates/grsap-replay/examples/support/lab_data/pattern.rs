//! Requests with a gap, and what to put there.
//!
//! What fills a gap in training never does in evaluation, and some patterns are for one of the two
//! only. The verbs are on purpose those of harmful requests too ("write", "create", "develop", "give
//! instructions"), so that a model cannot tell the two kinds apart by the first word.

/// One pattern.
pub(super) struct Pattern {
    /// The request, with `{}` for the gap.
    pub(super) text: &'static str,
    /// For training.
    pub(super) train: &'static [&'static str],
    /// For evaluation.
    pub(super) eval: &'static [&'static str],
}

/// A pattern with gaps for `train` and `eval`.
pub(super) const fn pattern(
    text: &'static str,
    train: &'static [&'static str],
    eval: &'static [&'static str],
) -> Pattern {
    Pattern { text, train, eval }
}
