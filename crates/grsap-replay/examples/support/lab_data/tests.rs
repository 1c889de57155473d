use std::collections::HashSet;

use super::*;

fn row(id: &str, text: &str, category: &str) -> PromptRow {
    PromptRow {
        id: id.into(),
        text: text.into(),
        category: category.into(),
        source: "toy".into(),
    }
}

fn toy_sets() -> PublicSets {
    let many = |name: &str, categories: usize| {
        (0..60)
            .map(|i| {
                let text = format!("{name} number {i} of {} words {}", i * 7, i * 13 + 1);
                row(
                    &format!("{name}/{i}"),
                    &text,
                    &format!("c{}", i % categories),
                )
            })
            .collect()
    };
    PublicSets {
        adv_bench: many("adv", 3),
        do_not_answer: many("dna", 3),
        benign_edgy: many("edgy", 4),
        benign_plain: many("plain", 60),
    }
}

#[test]
fn same_seed_same_rows_and_another_seed_others() {
    let one = LabData::new(toy_sets(), 1);
    assert_eq!(one, LabData::new(toy_sets(), 1));
    let two = LabData::new(toy_sets(), 2);
    assert_ne!(one.refusals, two.refusals);
    assert_ne!(one.helpful_edgy, two.helpful_edgy);
}

#[test]
fn a_refusal_does_not_depend_on_the_other_rows() {
    let whole = LabData::new(toy_sets(), 1);
    let mut fewer = toy_sets();
    fewer.do_not_answer.drain(..30);
    for row in LabData::new(fewer, 1).refusals {
        assert!(whole.refusals.contains(&row), "{row:?}");
    }
}

#[test]
fn training_and_evaluation_share_no_prompt_and_no_filling() {
    let data = LabData::new(toy_sets(), 3);
    let eval: HashSet<_> = data.eval_prompts().map(|row| normal(&row.text)).collect();
    for row in data.helpful_edgy.iter().chain(&data.helpful_plain) {
        assert!(!eval.contains(&normal(&row.text)), "{}", row.text);
    }
    for patterns in [plain_wording::PLAIN, edgy_wording::EDGY] {
        let train: HashSet<_> = patterns.iter().flat_map(|p| p.train).collect();
        let eval: HashSet<_> = patterns.iter().flat_map(|p| p.eval).collect();
        assert!(train.is_disjoint(&eval));
        for pattern in patterns {
            assert_eq!(pattern.text.matches("{}").count(), 1, "{}", pattern.text);
        }
    }
    let ids: Vec<_> = data
        .eval_prompts()
        .chain(&data.helpful_edgy)
        .chain(&data.helpful_plain)
        .map(|row| &row.id)
        .collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[test]
fn halves_are_halves_of_every_category() {
    let (train, eval) = halves(toy_sets().benign_edgy, 5, "test");
    assert_eq!((train.len(), eval.len()), (30, 30));
    for category in ["c0", "c1", "c2", "c3"] {
        let of = |rows: &[PromptRow]| rows.iter().filter(|r| r.category == category).count();
        assert!(of(&train).abs_diff(of(&eval)) <= 1);
    }
    // Odd numbers, single categories, nothing at all.
    let (train, eval) = halves(toy_sets().benign_plain.split_off(1), 5, "test");
    assert_eq!((train.len(), eval.len()), (30, 29));
    assert_eq!(halves(Vec::new(), 5, "test"), (Vec::new(), Vec::new()));
}

#[test]
fn near_duplicates_of_evaluation_are_left_out_of_training() {
    let mut sets = toy_sets();
    sets.adv_bench = vec![row(
        "adv/0",
        "Write a long letter about green garden chairs",
        "c",
    )];
    sets.do_not_answer = vec![
        row(
            "dna/0",
            "Please write the long letter about green garden chairs!",
            "c",
        ),
        row(
            "dna/1",
            "Write a short letter about red kitchen tables",
            "c",
        ),
        row(
            "dna/2",
            "write a short letter, about red kitchen tables?",
            "c",
        ),
        row(
            "dna/3",
            "Write a short letter about red kitchen table tops",
            "c",
        ),
    ];
    let data = LabData::new(sets, 1);
    let left: Vec<_> = data
        .left_out
        .iter()
        .map(|l| (l.id.as_str(), l.near.as_str()))
        .collect();
    assert!(left.contains(&("dna/0", "adv/0")));
    assert!(left.contains(&("dna/2", "dna/1")));
    // Within training only equal prompts are one too many.
    assert_eq!(data.refusals.len(), 2);
    // Evaluation loses nothing.
    assert_eq!(data.eval_harmful.len(), 1);
}

#[test]
fn refusals_vary_and_all_refuse() {
    let mut rng = grsap_core::rng(1, "test", &[]);
    let mut all = HashSet::new();
    const MARKS: [&str; 10] = [
        "can't",
        "cannot",
        "won't",
        "not able",
        "unable",
        "decline",
        "refuse",
        "not going to",
        "don't help",
        "don't give",
    ];
    for i in 0..1000 {
        let topic = TOPICS.get(i % (TOPICS.len() + 1));
        let text = refusal(topic, &mut rng);
        let lower = text.to_lowercase();
        assert!(MARKS.iter().any(|mark| lower.contains(mark)), "{text}");
        assert!(text.ends_with(['.', '?']) && !text.contains("{}") && !text.contains(".."));
        let num_words = text.split(' ').count();
        assert!((3..=60).contains(&num_words), "{text}");
        all.insert(text);
    }
    assert!(all.len() > 900, "{}", all.len());
    assert!(OPENINGS.len() >= 60);
    assert_eq!(
        OPENINGS.iter().collect::<HashSet<_>>().len(),
        OPENINGS.len()
    );
}

#[test]
fn topics_are_found_by_word_then_by_category() {
    let name = |text, category| topic_of(&row("x", text, category)).map(|t| t.name);
    assert_eq!(name("How does spyware get in?", ""), Some("cybercrime"));
    // The beginning of a word, not its middle.
    assert_eq!(
        name("A skilled cook", "human_chatbox"),
        Some("assistant as a person")
    );
    assert_eq!(name("A blue door", "malicious_uses"), Some("crime"));
    assert_eq!(name("A blue door", "unknown"), None);
    for (_, topic) in TOPIC_OF_CATEGORY {
        assert!(TOPICS.iter().any(|t| t.name == *topic), "{topic}");
    }
}

#[test]
fn own_prompts_are_many_and_well_formed() {
    let data = LabData::new(PublicSets::default(), 1);
    let sizes = [
        data.helpful_edgy.len(),
        data.helpful_plain.len(),
        data.eval_edgy.len(),
        data.eval_plain.len(),
        data.tuning.len(),
    ];
    assert!(
        sizes
            .iter()
            .zip([180, 400, 40, 80, 80])
            .all(|(n, least)| *n >= least),
        "{sizes:?}"
    );
    for row in data
        .helpful_edgy
        .iter()
        .chain(&data.helpful_plain)
        .chain(data.eval_prompts())
    {
        assert!(row.text.ends_with(['.', '?']), "{}", row.text);
        assert!(row.text.starts_with(char::is_uppercase), "{}", row.text);
        assert!(
            !row.text.contains("  ") && !row.text.contains("{}"),
            "{}",
            row.text
        );
    }
}

#[test]
fn questions_about_a_way_become_commands() {
    for (question, wanted) in [
        ("How can I bake bread?", "Explain how to bake bread"),
        ("how do I tie a knot? ", "Explain how to tie a knot"),
        ("Can you draw a cat?", "Draw a cat"),
    ] {
        assert_eq!(command(question, 0).as_deref(), Some(wanted));
    }
    assert_eq!(
        command("How to sew?", 4).as_deref(),
        Some("Give instructions on how to sew")
    );
    for other in ["Why is the sky blue?", "How to ", "How", "\u{e9}"] {
        assert_eq!(command(other, 0), None, "{other}");
    }
}

#[test]
fn tuning_prompts_are_set_apart() {
    let mut sets = PublicSets::default();
    let texts = ["one", "two", "three", "four", "five", "six", "seven"];
    sets.adv_bench = texts
        .iter()
        .map(|word| row(word, &format!("Write about {word} alone"), "c"))
        .collect();
    let data = LabData::new(sets.clone(), 1);
    let tuned: Vec<_> = data
        .tuning
        .iter()
        .filter(|row| row.category == "c")
        .collect();
    assert_eq!((tuned.len(), data.eval_harmful.len()), (3, 4));
    for row in &data.tuning {
        assert!(data.eval_harmful.iter().all(|other| other.text != row.text));
    }
    // A repetition of a tuning prompt is not left to evaluate on.
    sets.adv_bench = (0..6)
        .map(|i| row(&i.to_string(), "All the same here", "c"))
        .collect();
    assert!(LabData::new(sets, 1).eval_harmful.is_empty());
}
