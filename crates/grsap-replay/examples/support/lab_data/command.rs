/// How a question about a way to do something begins, and whether what follows is itself a
/// command ("can you make ...").
const BEGINNINGS: &[(&str, bool)] = &[
    ("what is the best way to ", false),
    ("what's the best way to ", false),
    ("how should i ", false),
    ("how could i ", false),
    ("how can one ", false),
    ("how can i ", false),
    ("how do i ", false),
    ("how to ", false),
    ("could you ", true),
    ("can you ", true),
];
const COMMANDS: &[&str] = &[
    "Explain how to {}",
    "Give instructions on how to {}",
    "Write a guide on how to {}",
];

/// A question as a command: "How can I do this?" becomes "Explain how to do this". `None` for a
/// question of another form. `nth` chooses among the wordings.
///
/// Do-Not-Answer asks, AdvBench commands. A model that learned to refuse questions only takes a
/// command for a task.
pub(super) fn command(question: &str, nth: usize) -> Option<String> {
    let (beginning, is_command) = BEGINNINGS.iter().find(|(beginning, _)| {
        question
            .get(..beginning.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    })?;
    let rest = question
        .get(beginning.len()..)?
        .trim_end_matches(['?', '.', ' '])
        .trim_start();
    let mut letters = rest.chars();
    let first = letters.next()?;
    Some(if *is_command {
        first.to_uppercase().chain(letters).collect()
    } else {
        let wording = COMMANDS.get(nth % COMMANDS.len())?;
        wording.replace("{}", rest)
    })
}
