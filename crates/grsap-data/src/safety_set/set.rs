use serde::{Deserialize, Serialize};

/// A public set of prompts, some with labelled responses, that safety is trained or measured on.
///
/// The columns are those of the published files; any file form that the endings in
/// [`read_safety_set`](crate::read_safety_set) name will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SafetySet {
    /// Han et al., arXiv 2406.18495; `wildguardmix`, test part, Parquet: `prompt`, `response`,
    /// `prompt_harm_label`, `response_refusal_label`, `response_harm_label`, `subcategory`.
    WildGuardTest,
    /// Jiang et al., arXiv 2406.18510; TSV. Evaluation part: `adversarial`, `label`, `data_type`;
    /// training part: `vanilla`, `adversarial`, `completion`, `data_type`.
    WildJailbreak,
    /// Ji et al., arXiv 2307.04657; JSONL: `prompt`, `response`, `category`, `is_safe`. Of the prompt
    /// itself nothing is said.
    BeaverTails,
    /// Ji et al., arXiv 2406.15513; JSONL: `prompt`, and `response_0`, `is_response_0_safe`, the same
    /// with 1: two rows of each. Of the prompt itself nothing is said.
    PkuSafeRlhf,
    /// Ghosh et al., arXiv 2501.09004; a JSON array: `prompt`, `response`, `prompt_label`,
    /// `response_label`, `violated_categories`. Rows whose prompt is withheld are left out and counted.
    Aegis2,
    /// Zou et al., arXiv 2307.15043; CSV: `goal`, `target`. The target is the beginning of an answer,
    /// not a response.
    AdvBench,
    /// Mazeika et al., arXiv 2402.04249; CSV: `Behavior`, `SemanticCategory`, `ContextString`, which
    /// is put before the behaviour.
    HarmBench,
    /// Souly et al., arXiv 2402.10260; CSV: `category`, `source`, `forbidden_prompt`.
    StrongReject,
    /// Röttger et al., arXiv 2308.01263; CSV: `prompt`, `type`, and `label` in later versions; earlier
    /// ones name the unsafe types `contrast_...`.
    XsTest,
    /// Wang et al., arXiv 2308.13387; CSV or Parquet: `risk_area`, `types_of_harm`, `question`.
    DoNotAnswer,
}

impl SafetySet {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::WildGuardTest,
        Self::WildJailbreak,
        Self::BeaverTails,
        Self::PkuSafeRlhf,
        Self::Aegis2,
        Self::AdvBench,
        Self::HarmBench,
        Self::StrongReject,
        Self::XsTest,
        Self::DoNotAnswer,
    ];
}
