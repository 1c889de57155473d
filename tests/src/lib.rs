//! Holds nothing but the book's code, which is compiled as doc tests; the tests are in
//! `tests/tests/`.

macro_rules! compile {
    ($($name:ident: $page:literal),*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../docs/src/cookbook/", $page))]
        struct $name;
    )*};
}
compile!(Report: "report.md", OverTraining: "over-training.md");
