use grsap_core::{Generator, Guard, Message, ModelError, Progress, Prompt, SamplingParams};

use super::answers::{Asked, exchanges};
use super::{EvaluationError, TrainingCheckpoint, domain_reports};
use crate::{
    ArmReport, BootstrapConfig, IncoherenceConfig, IntervalMethod, TrainingPoint, UnscoredPolicy,
    Worse, harmful_score, incoherence, over_refusal_rate, refusal_rate, task_accuracy,
};

/// What a model is asked, and who judges the answers.
///
/// It evaluates one model, or every checkpoint of a training run. It keeps nothing itself: put a
/// generator that remembers around each model and a run that was killed goes on where it stopped.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::{MockGenerator, MockGuard};
/// use grsap_safety::{Evaluation, TrainingCheckpoint};
///
/// let harmful = ["a harmful request".to_owned(), "another".to_owned()];
/// let guard = MockGuard::new(["bad"]);
/// let evaluation = Evaluation { harmful: &harmful, ..Evaluation::new(&guard) };
/// let checkpoints = [TrainingCheckpoint::new("start", 0), TrainingCheckpoint::new("end", 64)];
/// let load = |checkpoint: &TrainingCheckpoint| {
///     let answer = if checkpoint.num_examples == 0 { "I cannot." } else { "bad advice" };
///     Ok(MockGenerator::new(move |_, _| answer.into()))
/// };
/// let points = evaluation.over_training(&checkpoints, load, &())?;
/// assert_eq!(points[1].num_examples, 64);
/// assert_eq!(points[0].figures.harmful_score.value, Some(0.0));
/// assert_eq!(points[1].figures.harmful_score.value, Some(1.0));
/// # Ok::<(), grsap_safety::EvaluationError>(())
/// ```
#[derive(Clone)]
pub struct Evaluation<'a> {
    /// Harmful prompts: harm, refusal and incoherence are measured on the answers to these.
    pub harmful: &'a [String],
    /// The domain of each harmful prompt; none where domains are not told apart.
    pub domains: &'a [String],
    /// The cluster of each harmful prompt, near-duplicates in one; none where all are independent.
    pub clusters: &'a [usize],
    /// Benign prompts: over-refusal is measured on the answers to these.
    pub benign: &'a [String],
    /// How the prompts are answered.
    pub sampling: SamplingParams,
    /// Task rows, where accuracy is wanted.
    pub task: Option<TaskQuestions<'a>>,
    /// Who judges the answers to harmful and benign prompts.
    pub guard: &'a dyn Guard,
    /// What becomes of answers that cannot be judged or read.
    pub unscored: UnscoredPolicy,
    /// When an answer counts as incoherent.
    pub incoherence: IncoherenceConfig,
}

/// Task rows and their key.
#[derive(Clone)]
pub struct TaskQuestions<'a> {
    /// One for each row.
    pub prompts: &'a [Prompt],
    /// How they are answered.
    pub sampling: SamplingParams,
    /// Whether an answer to the row of that number is right; `None` where it cannot be read.
    pub is_right: &'a dyn Fn(usize, &str) -> Option<bool>,
}

impl<'a> Evaluation<'a> {
    /// Nothing to ask yet; greedy answers of up to 1,024 tokens, as in the paper; what cannot be
    /// judged leaves the denominator and is counted.
    pub fn new(guard: &'a dyn Guard) -> Self {
        Self {
            harmful: &[],
            domains: &[],
            clusters: &[],
            benign: &[],
            sampling: SamplingParams::greedy(1024),
            task: None,
            guard,
            unscored: UnscoredPolicy::Exclude,
            incoherence: IncoherenceConfig::default(),
        }
    }

    /// Asks the model `name` and judges its answers. What there are no prompts for is unmeasured.
    ///
    /// # Errors
    ///
    /// [`EvaluationError`] when the model or the guard fails, or when there are domains or clusters
    /// but not one for each harmful prompt.
    pub fn evaluate(
        &self,
        name: &str,
        generator: &dyn Generator,
        progress: &dyn Progress,
    ) -> Result<ArmReport, EvaluationError> {
        let asked = Asked {
            name,
            generator,
            progress,
        };
        let mut report = ArmReport::new(name);
        if !self.harmful.is_empty() {
            self.ask_harmful(&asked, &mut report)?;
        }
        if !self.benign.is_empty() {
            let what = "benign prompts";
            let answers = asked.answers(what, &chats(self.benign), &self.sampling)?;
            let verdicts = asked.judged(what, self.guard, self.benign, &answers)?;
            let policy = self.unscored.of(Worse::Higher);
            report.over_refusal_rate =
                over_refusal_rate(&verdicts, policy, &IntervalMethod::Wilson)?;
        }
        if let Some(task) = self.task.as_ref().filter(|task| !task.prompts.is_empty()) {
            let answers = asked.answers("task rows", task.prompts, &task.sampling)?;
            let is_right: Vec<Option<bool>> = answers
                .iter()
                .enumerate()
                .map(|(row, answer)| (task.is_right)(row, answer))
                .collect();
            let policy = self.unscored.of(Worse::Lower);
            report.task_accuracy = task_accuracy(&is_right, policy, &IntervalMethod::Wilson)?;
        }
        Ok(report)
    }

    fn ask_harmful(
        &self,
        asked: &Asked<'_>,
        report: &mut ArmReport,
    ) -> Result<(), EvaluationError> {
        let what = "harmful prompts";
        let answers = asked.answers(what, &chats(self.harmful), &self.sampling)?;
        let verdicts = asked.judged(what, self.guard, self.harmful, &answers)?;
        let interval = if self.clusters.is_empty() {
            IntervalMethod::Wilson
        } else {
            IntervalMethod::ClusterBootstrap {
                clusters: self.clusters,
                config: BootstrapConfig::default(),
            }
        };
        let (harm, refusal) = (
            self.unscored.of(Worse::Higher),
            self.unscored.of(Worse::Lower),
        );
        report.refusal_rate = refusal_rate(&verdicts, refusal, &interval)?;
        report.harmful_score = harmful_score(&verdicts, harm, &interval)?;
        let exchanges = exchanges(self.harmful, &answers);
        report.incoherence = Some(incoherence(&exchanges, &self.incoherence, &interval)?);
        if !self.domains.is_empty() {
            report.by_domain = domain_reports(&verdicts, self.domains, self.unscored)?;
        }
        Ok(())
    }

    /// Evaluates every checkpoint of a run, in order; `load` gives the model of one. One model at a
    /// time is there.
    ///
    /// # Errors
    ///
    /// As [`evaluate`](Self::evaluate), and [`EvaluationError::Load`].
    ///
    /// # Source
    ///
    /// GR-SAP, stage 6: every checkpoint is evaluated, one each 1,024 examples.
    pub fn over_training<G: Generator>(
        &self,
        checkpoints: &[TrainingCheckpoint],
        mut load: impl FnMut(&TrainingCheckpoint) -> Result<G, ModelError>,
        progress: &dyn Progress,
    ) -> Result<Vec<TrainingPoint>, EvaluationError> {
        checkpoints
            .iter()
            .map(|checkpoint| {
                let generator = load(checkpoint).map_err(|source| EvaluationError::Load {
                    model: checkpoint.name.clone(),
                    source,
                })?;
                Ok(TrainingPoint {
                    num_examples: checkpoint.num_examples,
                    figures: self.evaluate(&checkpoint.name, &generator, progress)?,
                })
            })
            .collect()
    }
}

/// A chat of one question each.
fn chats(questions: &[String]) -> Vec<Prompt> {
    questions
        .iter()
        .map(|text| Prompt::chat([Message::user(text)]))
        .collect()
}
