//! Holds nothing but the book's code, which is compiled as doc tests; the tests are in
//! `tests/tests/`.

macro_rules! compile {
    ($($name:ident: $page:literal),*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../docs/src/cookbook/", $page))]
        struct $name;
    )*};
}
compile!(
    Extractor: "extractor.md",
    Generators: "generator.md",
    Gsm8k: "gsm8k.md",
    Guards: "guard.md",
    OverTraining: "over-training.md",
    Peft: "peft.md",
    Report: "report.md",
    Resume: "resume.md"
);
