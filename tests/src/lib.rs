//! What end-to-end tests share, and the code of README and book, which is compiled as doc tests. The tests are in
//! `tests/tests/`.

use std::path::PathBuf;

/// The program of an example of the facade.
///
/// # Panics
///
/// When it is not there.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    // Examples are built along with the tests, two folders up from them.
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.ancestors().nth(2).unwrap_or(&test).join("examples");
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: run the tests with --workspace",
        path.display()
    );
    path
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/src/settings.md")]
struct Settings;

macro_rules! compile {
    ($($name:ident: $page:literal),*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../docs/src/cookbook/", $page))]
        struct $name;
    )*};
}
compile!(
    Cluster: "cluster.md",
    Extractor: "extractor.md",
    FullFineTuning: "full-fine-tuning.md",
    Generators: "generator.md",
    Gpus: "gpus.md",
    Gsm8k: "gsm8k.md",
    Guards: "guard.md",
    OverTraining: "over-training.md",
    Peft: "peft.md",
    OwnChats: "own-chats.md",
    Report: "report.md",
    Resume: "resume.md",
    Synthesis: "synthesis.md",
    Training: "training.md"
);
