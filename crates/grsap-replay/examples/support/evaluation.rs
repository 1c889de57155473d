//! What every model of the experiment is asked, and what becomes of the answers.

use anyhow::Result;
use grsap_replay::prelude::*;
use serde::{Deserialize, Serialize};

use super::Scale;
use super::assets::PromptRow;
use super::lab_data::LabData;
use super::task_data::TaskData;

/// Tokens of an answer to a harmful or benign prompt: enough to tell a refusal.
const ANSWER_TOKENS: usize = 40;

/// Examples of each kind between two arms.
const MAX_FLIPS: usize = 8;

/// A chat of one question each.
pub(crate) fn chats<T: AsRef<str>>(questions: &[T]) -> Vec<Prompt> {
    questions
        .iter()
        .map(|text| Prompt::chat([Message::user(text.as_ref())]))
        .collect()
}

/// Greedy answers, in order.
pub(crate) fn answer(
    model: &ChatModel,
    prompts: &[Prompt],
    max_new_tokens: usize,
    title: &str,
    bars: &Bars,
) -> Result<Vec<String>> {
    let params = SamplingParams::greedy(max_new_tokens);
    let mut answers = Vec::with_capacity(prompts.len());
    bars.start(title, prompts.len());
    for chunk in prompts.chunks(64) {
        for generation in model.generate(chunk, &params)? {
            answers.extend(generation.completions.into_iter().map(|c| c.text));
        }
        bars.advance(chunk.len());
    }
    bars.finish();
    Ok(answers)
}

/// What every model is asked.
pub(crate) struct Questions {
    harmful: Vec<String>,
    /// The first category of each harmful prompt.
    domains: Vec<String>,
    benign: Vec<String>,
}

/// What one model answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answers {
    harmful: Vec<String>,
    benign: Vec<String>,
    task: Vec<String>,
    /// Mean negative log-likelihood per token of each held-out row's solution.
    task_nll: Vec<f64>,
}

/// One model of the experiment, with its answers for every seed.
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    /// Replay's share of the target tokens of the training set.
    pub(crate) token_share: Option<f64>,
    /// One for each seed.
    pub(crate) answers: Vec<Answers>,
}

impl Arm {
    /// The prompts of a set with the answers of every seed.
    fn exchanges<'a>(
        &'a self,
        set: &'a [String],
        of: fn(&Answers) -> &Vec<String>,
    ) -> Vec<Exchange<'a>> {
        let answers = self.answers.iter();
        answers
            .flat_map(|answers| set.iter().zip(of(answers)))
            .map(|(prompt, response)| Exchange { prompt, response })
            .collect()
    }
}

impl Questions {
    pub(crate) fn new(lab: &LabData, scale: &Scale) -> Self {
        let texts = |rows: &[PromptRow], n: usize| -> Vec<String> {
            rows.iter().take(n).map(|row| row.text.clone()).collect()
        };
        let half = scale.num_benign / 2;
        let domain = |row: &PromptRow| {
            let first = row.category.split(';').next().unwrap_or_default();
            first.trim().to_owned()
        };
        let harmful = lab.eval_harmful.iter().take(scale.num_harmful);
        Self {
            domains: harmful.map(domain).collect(),
            harmful: texts(&lab.eval_harmful, scale.num_harmful),
            benign: [texts(&lab.eval_edgy, half), texts(&lab.eval_plain, half)].concat(),
        }
    }

    pub(crate) fn ask(
        &self,
        model: &ChatModel,
        task: &TaskData,
        name: &str,
        bars: &Bars,
    ) -> Result<Answers> {
        let ask = |set: &[String], what: &str| {
            let title = format!("{name}: {what} prompts");
            answer(model, &chats(set), ANSWER_TOKENS, &title, bars)
        };
        let harmful = ask(&self.harmful, "harmful")?;
        let benign = ask(&self.benign, "benign")?;

        let records: Vec<Record> = task
            .held_out
            .iter()
            .map(|row| task.format.record(row))
            .collect();
        let prompts: Vec<Prompt> = records
            .iter()
            .map(|record| Prompt::chat(record.prompt().to_vec()))
            .collect();
        let title = format!("{name}: task rows");
        let tokens = if task.format.name() == "sentiment" {
            8
        } else {
            160
        };
        let answers = answer(model, &prompts, tokens, &title, bars)?;
        let encoder = SftEncoder::for_model(model, SftConfig::default())?;
        let solutions: Vec<TrainingTokens> = encoder
            .encode(&records)?
            .into_iter()
            .map(|example| TrainingTokens {
                input_ids: example.input_ids().to_vec(),
                is_target: example.is_target().to_vec(),
            })
            .collect();
        let nll = model.target_nll(&solutions)?;
        Ok(Answers {
            harmful,
            benign,
            task: answers,
            task_nll: nll.into_iter().map(|(sum, n)| sum / n as f64).collect(),
        })
    }

    /// Turns answers into rates with intervals and paired tests.
    pub(crate) fn judge(
        &self,
        arms: &[Arm],
        guard: &dyn Guard,
        encoder: &SentenceEncoder,
        task: &TaskData,
        report: &mut Report,
    ) -> Result<()> {
        // AdvBench repeats itself: near-duplicates count as one draw in intervals and tests.
        let texts: Vec<&str> = self.harmful.iter().map(String::as_str).collect();
        let clusters = cluster_by_cosine(&encoder.embed(&texts)?, encoder.dim(), 0.85)?;
        let exclude = UnparsedPolicy::Exclude;
        let mut judged: Vec<Judged<'_>> = Vec::new();
        for arm in arms {
            let harmful_exchanges = arm.exchanges(&self.harmful, |answers| &answers.harmful);
            let harmful = guard.judge(&harmful_exchanges)?;
            let benign = arm.exchanges(&self.benign, |answers| &answers.benign);
            let benign = guard.judge(&benign)?;
            // The same prompt under several seeds is one draw, too.
            let repeat = |ids: Vec<usize>| ids.repeat(arm.answers.len());
            let by_prompt = |n: usize| repeat((0..n).collect());
            let (harmful_ids, benign_ids) =
                (repeat(clusters.clone()), by_prompt(self.benign.len()));
            let task_ids = by_prompt(task.held_out.len());
            let interval = |clusters| IntervalMethod::ClusterBootstrap {
                clusters,
                config: BootstrapConfig::default(),
            };
            let correct: Vec<Option<bool>> = arm
                .answers
                .iter()
                .flat_map(|answers| task.held_out.iter().zip(&answers.task))
                .map(|(row, answer)| task.format.score(row, answer))
                .collect();
            let nll: Vec<Score> = arm
                .answers
                .iter()
                .flat_map(|answers| answers.task_nll.iter().copied().map(Score::new))
                .collect();
            let mut row = ArmReport::new(arm.name);
            row.refusal_rate = refusal_rate(&harmful, exclude, &interval(&harmful_ids))?;
            row.harmful_score = harmful_score(&harmful, exclude, &interval(&harmful_ids))?;
            row.over_refusal_rate = over_refusal_rate(&benign, exclude, &interval(&benign_ids))?;
            row.task_accuracy = task_accuracy(&correct, exclude, &interval(&task_ids))?;
            row.nll_per_token = Some(Estimate::mean(&nll, &interval(&task_ids))?);
            let degenerate = IncoherenceConfig::default();
            row.incoherence = Some(incoherence(
                &harmful_exchanges,
                &degenerate,
                &interval(&harmful_ids),
            )?);
            // Of the first seed: the same prompt twice is no second draw.
            let first_seed = harmful.get(..self.harmful.len()).unwrap_or(&harmful);
            row.by_domain = domain_reports(first_seed, &self.domains, UnscoredPolicy::Exclude)?;
            row.target_token_share = arm.token_share;
            report.arms.push(row);
            judged.push(Judged {
                arm,
                harmful: refusal_scores(&harmful),
                benign: refusal_scores(&benign),
            });
        }
        let find = |name: &str| judged.iter().find(|judged| judged.arm.name == name);
        let by_prompt: Vec<usize> = (0..self.benign.len()).collect();
        type Scores = for<'a, 'b> fn(&'a Judged<'b>) -> &'a Vec<Score>;
        let (of_harmful, of_benign): (Scores, Scores) = (|j| &j.harmful, |j| &j.benign);
        for (metric, first, second, of, clusters) in [
            ("refusal_rate", "no_replay", "gr_sap", of_harmful, &clusters),
            ("refusal_rate", "original", "gr_sap", of_harmful, &clusters),
            (
                "over_refusal_rate",
                "aligned",
                "gr_sap",
                of_benign,
                &by_prompt,
            ),
        ] {
            if let (Some(a), Some(b)) = (find(first), find(second)) {
                // The aligned model has one set of answers, an arm one for each seed.
                let num_seeds = b.arm.answers.len();
                let a = of(a).repeat(num_seeds / a.arm.answers.len().max(1));
                report.paired_tests.push(PairedTest {
                    metric: metric.into(),
                    first: first.into(),
                    second: second.into(),
                    mcnemar: McNemar::clustered(&a, of(b), &clusters.repeat(num_seeds))?,
                });
            }
        }
        for (first, second) in [("aligned", "no_replay"), ("no_replay", "gr_sap")] {
            if let (Some(a), Some(b)) = (find(first), find(second)) {
                report.flips.extend(self.flips(a, b)?);
            }
        }
        Ok(())
    }

    /// Some prompts on which only one of two arms refuses, by the answers of the first seed. Those
    /// to benign prompts are mild.
    fn flips(&self, first: &Judged<'_>, second: &Judged<'_>) -> Result<Vec<Flip>> {
        let words = ["refuses", "does not refuse"];
        let harmful = Flip::find(
            "refusal_rate",
            words,
            &self.harmful,
            first.of_first_seed(|answers| &answers.harmful, &first.harmful),
            second.of_first_seed(|answers| &answers.harmful, &second.harmful),
        )?;
        let benign = Flip::find(
            "over_refusal_rate",
            words,
            &self.benign,
            first.of_first_seed(|answers| &answers.benign, &first.benign),
            second.of_first_seed(|answers| &answers.benign, &second.benign),
        )?;
        let mild = benign.into_iter().map(|flip| Flip {
            is_mild: true,
            ..flip
        });
        let harmful = harmful.into_iter().take(MAX_FLIPS);
        Ok(mild.take(MAX_FLIPS).chain(harmful).collect())
    }
}

/// Which answers of an arm are refusals, seed after seed.
struct Judged<'a> {
    arm: &'a Arm,
    harmful: Vec<Score>,
    benign: Vec<Score>,
}

impl Judged<'_> {
    fn of_first_seed<'s>(
        &'s self,
        of: fn(&Answers) -> &Vec<String>,
        scores: &'s [Score],
    ) -> ArmAnswers<'s> {
        let answers = self.arm.answers.first();
        let responses = answers.map_or(&[][..], |answers| of(answers).as_slice());
        ArmAnswers {
            arm: self.arm.name,
            responses,
            scores: scores.get(..responses.len()).unwrap_or(scores),
        }
    }
}
