//! What a program needs of all parts: `use grsap_replay::prelude::*`.

#[cfg(feature = "bars")]
pub use crate::Bars;
pub use burn::tensor::Device;
pub use grsap_core::{
    Completion, Embedder, Exchange, Generation, Generator, Guard, Message, Perplexity, Progress,
    Prompt, Role, Safety, SafetyDomain, SamplingConfig, SamplingParams, Turn, Verdict,
};
pub use grsap_data::{
    Difficulty, Gsm8k, MixPlan, Mixture, Record, Sampler, Sentiment, SizeControl, Stratified,
    TaskFormat, TaskRow, Uniform, read_gsm8k, read_records, read_sentiment, split_held_out,
};
pub use grsap_kernels::keep_memory;
pub use grsap_lora::{
    AdapterDtype, Callback, FullFineTuning, HeldOutLoss, JsonlMetrics, KeepBest, LoraConfig,
    LossScope, LossWeighting, Resume, SftConfig, SftEncoder, SftExample, ShowProgress, TensorBoard,
    Trainer, TrainerConfig, attach, load_adapter, merge, save_adapter,
};
pub use grsap_model::{ChatModel, SentenceEncoder, TrainingTokens};
pub use grsap_safety::{
    ArmAnswers, ArmReport, BootstrapConfig, CombinedGuard, Decision, EmbeddingJudge,
    EmbeddingJudgeConfig, Estimate, Evaluation, FitReport, Flip, GateConfig, GateRule, GateSample,
    IncoherenceConfig, IntervalMethod, JudgeReport, JudgeTarget, KeywordRefusal, LabelledExchange,
    LlamaGuard, Mauve, MauveConfig, McNemar, ModelGuard, NonInferiority, Outcome, PairedTest,
    Reason, Report, RunProvenance, SafetyGate, Score, Similarity, SimilarityConfig, StageReport,
    Study, TaskQuestions, TrainingCheckpoint, UnparsedPolicy, UnscoredPolicy, WildGuard, Worse,
    cluster_by_cosine, domain_reports, harmful_score, holm, incoherence, over_refusal_rate,
    paired_change, refusal_rate, refusal_scores, task_accuracy,
};
pub use grsap_synth::{
    AnswerCache, Cached, CachedEmbedder, DomainRelevanceConfig, HardPolicy, Provenance,
    ReplayBuffer, ReplayExample, Synthesis, SynthesisConfig, SynthesisModels, Threshold,
};
