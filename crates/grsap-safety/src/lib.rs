//! Safety judges, metrics with intervals, paired tests and reports.
//!
//! * Judges implement [`Guard`](grsap_core::Guard): a guard model behind its text format
//!   ([`ModelGuard`] with [`WildGuard`], [`LlamaGuard`], [`GuardReasoner`], [`ShieldGemma`] or
//!   [`YesNoRubric`]), a phrase list ([`KeywordRefusal`]), a fitted classifier on sentence embeddings
//!   ([`EmbeddingJudge`]); [`CombinedGuard`], [`MajorityVote`] and [`CoherentGuard`] join them.
//! * Metrics turn verdicts into an [`Estimate`] with a 95% interval that always says how many
//!   samples could not be scored; [`McNemar`] compares two models on the same prompts,
//!   [`NonInferiority`] shows that one is not worse by more than a margin, [`holm`] corrects for
//!   several sets, and [`Study`] says how many prompts that takes.
//! * A [`SafetyGate`] turns figures into a decision with an exit code, and says which one decided.
//! * [`Similarity`] tells how close synthetic data are to original ones: [`Mauve`], the
//!   [`ChainRule`] of KL divergences, nearest [`Neighbours`].
//! * An [`Evaluation`] asks a model, or every checkpoint of a run, and measures all of these.
//! * A [`Report`] puts the arms of an experiment into HTML, JSON, Markdown, SVG and a terminal table.
//!
//! ```
//! use grsap_core::{Exchange, Guard};
//! use grsap_safety::{IntervalMethod, KeywordRefusal, UnparsedPolicy, refusal_rate};
//!
//! let exchanges = [
//!     Exchange { prompt: "a request", response: "I'm sorry, but I can't help with that." },
//!     Exchange { prompt: "another", response: "Sure, here is a recipe." },
//! ];
//! let verdicts = KeywordRefusal::default().judge(&exchanges)?;
//! let rate = refusal_rate(&verdicts, UnparsedPolicy::Exclude, &IntervalMethod::Wilson)?;
//! assert_eq!(rate.value, Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agreement;
mod bootstrap;
mod cluster;
mod coherent_guard;
mod combined_guard;
mod confusion;
mod cross_validation;
mod embedding_judge;
mod estimate;
mod evaluation;
mod gate;
mod guard_answers;
mod guard_format;
mod guard_reasoner;
mod guard_template;
mod holm;
mod incoherence;
mod keyword_refusal;
mod llama_guard;
mod logistic_error;
mod logistic_regression;
mod majority_vote;
mod mcnemar;
mod metric_error;
mod metrics;
mod model_guard;
mod non_inferiority;
mod normal;
mod paired_change;
mod platt;
mod power;
mod report;
mod score;
mod scorer;
mod script;
mod shield_gemma;
mod similarity;
mod wild_guard;
mod wilson;
mod yes_no_rubric;

pub use agreement::cohen_kappa;
pub use bootstrap::{BootstrapConfig, bootstrap_mean, cluster_bootstrap_mean};
pub use cluster::cluster_by_cosine;
pub use coherent_guard::CoherentGuard;
pub use combined_guard::CombinedGuard;
pub use confusion::Confusion;
pub use cross_validation::{FitReport, auc};
pub use embedding_judge::{
    EmbeddedText, EmbeddingJudge, EmbeddingJudgeConfig, JudgeError, JudgeTarget, LabelledExchange,
};
pub use estimate::{Estimate, IntervalMethod};
pub use evaluation::{
    Evaluation, EvaluationError, TaskQuestions, TrainingCheckpoint, domain_reports,
};
pub use gate::{
    GateCheck, GateConfig, GateDecision, GateError, GateReport, GateRule, GateSample, SafetyGate,
    UnscoredPolicy,
};
pub use guard_answers::GuardAnswers;
pub use guard_format::GuardFormat;
pub use guard_reasoner::GuardReasoner;
pub use guard_template::TemplateError;
pub use holm::holm;
pub use incoherence::{
    Incoherence, IncoherenceConfig, distinct_ngram_ratio, find_incoherence, incoherence,
};
pub use keyword_refusal::{KeywordMode, KeywordRefusal, KeywordRefusalConfig};
pub use llama_guard::LlamaGuard;
pub use logistic_error::LogisticError;
pub use logistic_regression::{LogisticConfig, LogisticRegression};
pub use majority_vote::MajorityVote;
pub use mcnemar::McNemar;
pub use metric_error::MetricError;
pub use metrics::{harmful_score, over_refusal_rate, refusal_rate, task_accuracy};
pub use model_guard::ModelGuard;
pub use non_inferiority::{NonInferiority, Worse};
pub use paired_change::paired_change;
pub use platt::PlattScaling;
pub use power::Study;
pub use report::{
    ArmAnswers, ArmReport, Decision, DomainReport, Flip, FlippedAnswer, JudgeReport, Outcome,
    PairedTest, Reason, Report, ReportError, RunProvenance, StageReport, SynthesisReport,
    TrainingPoint,
};
pub use score::{Score, UnparsedPolicy, harm_scores, refusal_scores};
pub use scorer::{HarmScorer, RefusalScorer, Scorer};
pub use shield_gemma::ShieldGemma;
pub use similarity::{
    ChainRule, ExchangeFeatures, Features, Mauve, MauveConfig, Neighbours, Similarity,
    SimilarityConfig, Split,
};
pub use wild_guard::WildGuard;
pub use wilson::wilson_interval;
pub use yes_no_rubric::YesNoRubric;

/// The pages of the book that need this crate alone: their code is compiled with the tests.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../docs/src/cookbook/gate.md")]
    struct Gate;
    #[doc = include_str!("../../../docs/src/cookbook/similarity.md")]
    struct Similarity;
}
