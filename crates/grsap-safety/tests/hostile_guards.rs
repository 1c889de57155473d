//! Guard formats under output that was made to confuse them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use grsap_core::Safety;
use grsap_safety::{GuardFormat, GuardReasoner, LlamaGuard, ShieldGemma, WildGuard, YesNoRubric};
use rand::RngExt;

const NUM_OUTPUTS: usize = 10_000;

/// Pieces of true answers, broken ones, and noise.
const PIECES: [&str; 58] = [
    "Harmful request",
    "Response refusal",
    "Harmful response",
    "harmful  RESPONSE",
    "Harmful",
    "Refused",
    "Request",
    "Completion",
    "Response",
    "Answers",
    "answers:",
    "yes",
    "no",
    "Yes",
    "No",
    "NO",
    "n",
    "ye",
    "not",
    "none",
    "safe",
    "Safe",
    "unsafe",
    "SAFE",
    "saf",
    "S1",
    "S1,S9",
    "O3",
    "harmful",
    "unharmful",
    "refusal",
    "compliance",
    ":",
    ":",
    ":",
    ": ",
    " : ",
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " ",
    " ",
    "\t",
    ".",
    ",",
    "**",
    "/",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "ſafe",
    "İ",
    "\u{a0}",
    "🦙",
    "\u{ff1a}",
    "<end_of_turn>",
];

/// A few pieces, sometimes a whole answer, sometimes any characters at all.
fn output(index: usize) -> String {
    let mut rng = grsap_core::rng(6, "safety.hostile", &[&index.to_le_bytes()]);
    let num_pieces = rng.random_range(0..24);
    (0..num_pieces)
        .map(|_| match rng.random_range(0..12) {
            0 => char::from_u32(rng.random_range(0..0x11_0000))
                .unwrap_or('\u{fffd}')
                .to_string(),
            1 => [
                "Harmful response: no\n",
                "Harmful: no\n",
                "Answers: Response: unharmful\n",
            ][rng.random_range(0..3)]
            .to_owned(),
            _ => PIECES[rng.random_range(0..PIECES.len())].to_owned(),
        })
        .collect()
}

/// Without white space, in lower case.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<String>().to_lowercase()
}

/// Whether some line says `wanted`, and none `unwanted`. Written apart from the parsers, and more
/// lenient: it may only find more.
fn lines_say(raw: &str, wanted: &str, unwanted: &str) -> bool {
    let lines: Vec<String> = raw
        .lines()
        .map(|line| {
            let parts = squeezed(line);
            let parts = parts.split(':').map(|part| {
                part.chars()
                    .filter(|c| c.is_alphanumeric())
                    .collect::<String>()
            });
            let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
            parts.join(":")
        })
        .collect();
    lines.iter().any(|line| line.ends_with(wanted)) && !lines.iter().any(|line| line == unwanted)
}

fn reasoner_says(raw: &str) -> bool {
    let raw = raw.to_lowercase();
    let Some(at) = raw.rfind("answers:") else {
        return false;
    };
    let tail: String = squeezed(&raw[at..])
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ':')
        .collect();
    tail.contains("response:unharmful")
}

fn first_word_is_no(raw: &str) -> bool {
    let word = raw
        .split(|c: char| !c.is_alphanumeric())
        .find(|word| !word.is_empty());
    word.is_some_and(|word| word.eq_ignore_ascii_case("no"))
}

#[test]
fn no_output_counts_as_safe_unless_it_says_so() {
    type SaysSafe = fn(&str) -> bool;
    let formats: [(&str, Box<dyn GuardFormat>, SaysSafe); 5] = [
        ("WildGuard", Box::new(WildGuard::default()), |raw| {
            lines_say(raw, "harmfulresponse:no", "harmfulresponse:yes")
        }),
        ("LlamaGuard", Box::new(LlamaGuard::default()), |raw| {
            raw.trim().eq_ignore_ascii_case("safe")
        }),
        (
            "GuardReasoner",
            Box::new(GuardReasoner::default()),
            reasoner_says,
        ),
        (
            "ShieldGemma",
            Box::new(ShieldGemma::default()),
            first_word_is_no,
        ),
        ("YesNoRubric", Box::new(YesNoRubric::default()), |raw| {
            lines_say(raw, "harmful:no", "harmful:yes")
        }),
    ];
    let mut num_safe = [0; 5];
    for index in 0..NUM_OUTPUTS {
        let raw = output(index);
        for ((name, format, says_safe), count) in formats.iter().zip(&mut num_safe) {
            let verdict = format.parse(&raw);
            assert_eq!(verdict.raw, raw);
            if verdict.response == Safety::Safe {
                assert!(says_safe(&raw), "{name} took {raw:?} for safe");
                *count += 1;
            }
        }
    }
    // The outputs come close enough to true answers for the test to mean something.
    assert!(num_safe.iter().all(|count| *count > 0), "{num_safe:?}");
}
