use std::fmt;
use std::path::Path;

use grsap_core::{Embedder, Exchange, Guard, GuardError, ModelError, Safety, Verdict};
use serde::{Deserialize, Serialize};

use super::fitted_prompts::{FittedPrompts, key};
use super::validation::Calibrated;
use super::{EmbeddedText, EmbeddingJudgeConfig, JudgeError, JudgeTarget, LabelledExchange};
use crate::cross_validation::{HeldOut, assign_folds};
use crate::{FitReport, LogisticConfig, LogisticError, LogisticRegression, PlattScaling};

/// The version of the file that [`EmbeddingJudge::save`] writes.
const FORMAT: u32 = 2;

/// A judge that is a logistic regression on sentence embeddings, fitted on labelled exchanges.
///
/// Its probabilities are calibrated, and its threshold is chosen, on examples that the classifier
/// was not fitted on. Its held-out figures are saved with its weights, so that a verdict can always
/// be traced to how good the judge is. As a [`Guard`] it refuses prompts that it was fitted on: of
/// those it would only repeat what it was told.
///
/// # Examples
///
/// ```
/// use grsap_core::mock::MockEmbedder;
/// use grsap_safety::{EmbeddingJudge, EmbeddingJudgeConfig, LabelledExchange};
///
/// let labelled: Vec<LabelledExchange> = (0..20)
///     .map(|i| LabelledExchange {
///         prompt: format!("question {i}"),
///         response: if i % 2 == 0 { format!("cannot do {i}") } else { format!("here is {i}") },
///         label: i % 2 == 0,
///         source: "made up".into(),
///     })
///     .collect();
/// let judge = EmbeddingJudge::fit(MockEmbedder::new(64), &labelled, EmbeddingJudgeConfig::default())?;
/// assert!(judge.report().accuracy > 0.9);
/// # Ok::<(), grsap_safety::JudgeError>(())
/// ```
#[derive(Clone)]
pub struct EmbeddingJudge<E> {
    embedder: E,
    allows_fitted: bool,
    pub(super) file: JudgeFile,
}

impl<E> fmt::Debug for EmbeddingJudge<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingJudge")
            .field("config", &self.file.config)
            .field("report", &self.file.report)
            .finish_non_exhaustive()
    }
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JudgeFile {
    format: u32,
    config: EmbeddingJudgeConfig,
    /// Of one embedding.
    dim: usize,
    report: FitReport,
    platt: PlattScaling,
    threshold: f64,
    fitted_prompts: FittedPrompts,
    model: LogisticRegression,
}

impl<E: Embedder> EmbeddingJudge<E> {
    /// Fits a judge on all of `labelled`. Calibration and threshold are chosen on what classifiers
    /// fitted without a fold say of that fold; for its [`report`](Self::report) they are chosen on
    /// the other folds alone. Exchanges of one prompt are always held out together.
    ///
    /// # Errors
    ///
    /// [`JudgeError`] for settings out of range, too few prompts or a class without enough examples
    /// for the folds, or when the embedder or the fit fails.
    pub fn fit(
        embedder: E,
        labelled: &[LabelledExchange],
        config: EmbeddingJudgeConfig,
    ) -> Result<Self, JudgeError> {
        config.check()?;
        let labels: Vec<bool> = labelled.iter().map(|exchange| exchange.label).collect();
        // Without a prompt, the response is its own group.
        let groups: Vec<String> = labelled
            .iter()
            .map(|exchange| key(&exchange.prompt).unwrap_or_else(|| exchange.response.clone()))
            .collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let folds = assign_folds(&groups, &labels, config.num_folds, config.seed).ok_or(
            JudgeError::TooFew {
                num_examples: labelled.len(),
                num_folds: config.num_folds,
            },
        )?;
        let exchanges: Vec<Exchange<'_>> = labelled
            .iter()
            .map(|exchange| Exchange {
                prompt: &exchange.prompt,
                response: &exchange.response,
            })
            .collect();
        let features = embed(&embedder, &config, &exchanges)?;
        let width = config.num_features(embedder.dim());

        let mut scores = vec![0.0; labels.len()];
        for fold in 0..config.num_folds {
            let model = fit_without(&features, width, &labels, &folds, fold, &config.logistic)?;
            for ((score, row), _) in scores
                .iter_mut()
                .zip(features.chunks_exact(width))
                .zip(&folds)
                .filter(|(_, assigned)| **assigned == fold)
            {
                *score = model.decision(row);
            }
        }
        let too_few = || JudgeError::TooFew {
            num_examples: labelled.len(),
            num_folds: config.num_folds,
        };
        let held_out = judge_held_out(&scores, labelled, &folds, &config).ok_or_else(too_few)?;
        let report = FitReport::new(&held_out, config.num_folds).ok_or_else(too_few)?;
        let chosen = Calibrated::choose(&scores, &labels, config.threshold).ok_or_else(too_few)?;
        let model = LogisticRegression::fit(&features, width, &labels, &config.logistic)?;
        tracing::info!(
            accuracy = report.accuracy,
            auc = report.auc,
            num_examples = report.num_examples,
            "fitted an embedding judge"
        );
        Ok(Self {
            file: JudgeFile {
                format: FORMAT,
                dim: embedder.dim(),
                config,
                report,
                platt: chosen.platt,
                threshold: chosen.threshold,
                fitted_prompts: FittedPrompts::new(labelled.iter().map(|e| e.prompt.as_str())),
                model,
            },
            allows_fitted: false,
            embedder,
        })
    }

    /// Reads a judge written by [`save`](Self::save). The embedder must be the one it was fitted
    /// with.
    ///
    /// # Errors
    ///
    /// [`JudgeError`] for a file that cannot be read, or weights that do not fit the embedder.
    pub fn load(embedder: E, path: impl AsRef<Path>) -> Result<Self, JudgeError> {
        let path = path.as_ref();
        let at = |reason: String| JudgeError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|source| JudgeError::Io {
            path: path.to_owned(),
            source,
        })?;
        let file: JudgeFile =
            serde_json::from_slice(&bytes).map_err(|error| at(error.to_string()))?;
        if file.format != FORMAT {
            return Err(at(format!("format {} is not {FORMAT}", file.format)));
        }
        file.config.check()?;
        if !(file.threshold > 0.0 && file.threshold < 1.0) {
            return Err(at(format!("threshold {} is not in (0, 1)", file.threshold)));
        }
        if file.dim != embedder.dim() {
            return Err(JudgeError::Dim {
                expected: file.dim,
                got: embedder.dim(),
            });
        }
        let expected = file.config.num_features(file.dim);
        if file.model.weights.len() != expected {
            return Err(at(format!(
                "{} weights, expected {expected}",
                file.model.weights.len()
            )));
        }
        Ok(Self {
            embedder,
            allows_fitted: false,
            file,
        })
    }

    /// Writes weights, settings and held-out figures as JSON.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), JudgeError> {
        let path = path.as_ref();
        let error = |source| JudgeError::Io {
            path: path.to_owned(),
            source,
        };
        let mut json =
            serde_json::to_vec_pretty(&self.file).map_err(|e| error(std::io::Error::other(e)))?;
        json.push(b'\n');
        grsap_core::write_atomic(path, &json).map_err(error)
    }

    /// How good it is on examples it was not fitted on.
    pub fn report(&self) -> &FitReport {
        &self.file.report
    }

    /// How it was fitted.
    pub fn config(&self) -> &EmbeddingJudgeConfig {
        &self.file.config
    }

    /// The classifier.
    pub fn model(&self) -> &LogisticRegression {
        &self.file.model
    }

    /// The calibrated probability from which on it says yes.
    pub fn threshold(&self) -> f64 {
        self.file.threshold
    }

    /// How scores become probabilities.
    pub fn calibration(&self) -> &PlattScaling {
        &self.file.platt
    }

    /// Whether `prompt` is among those it was fitted on, in any case and spacing.
    pub fn is_fitted_on(&self, prompt: &str) -> bool {
        self.file.fitted_prompts.contains(prompt)
    }

    /// Judges prompts that it was fitted on too, as when it filters data rather than measures a
    /// model.
    #[must_use]
    pub fn allowing_fitted_prompts(mut self) -> Self {
        self.allows_fitted = true;
        self
    }

    /// The calibrated probability that each response is what the judge looks for, whether it was
    /// fitted on the prompt or not.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when the embedder fails.
    pub fn probabilities(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<f64>, ModelError> {
        let features = embed(&self.embedder, &self.file.config, exchanges)?;
        let width = self.file.model.weights.len().max(1);
        Ok(features
            .chunks_exact(width)
            .map(|row| self.file.platt.probability(self.file.model.decision(row)))
            .collect())
    }
}

impl<E: Embedder> Guard for EmbeddingJudge<E> {
    fn judge(&self, exchanges: &[Exchange<'_>]) -> Result<Vec<Verdict>, GuardError> {
        if !self.allows_fitted {
            let fitted = exchanges
                .iter()
                .position(|exchange| self.is_fitted_on(exchange.prompt));
            if let Some(index) = fitted {
                return Err(GuardError::FittedOn { index });
            }
        }
        let config = &self.file.config;
        Ok(self
            .probabilities(exchanges)?
            .into_iter()
            .map(|probability| {
                let yes = probability >= self.file.threshold;
                let (response, refusal) = match config.target {
                    JudgeTarget::Harm if yes => (Safety::Unsafe, None),
                    JudgeTarget::Harm => (Safety::Safe, None),
                    JudgeTarget::Refusal if yes => (Safety::Safe, Some(true)),
                    JudgeTarget::Refusal => (Safety::Unparsed, Some(false)),
                };
                Verdict {
                    response,
                    refusal,
                    raw: format!("{probability:.4}"),
                }
            })
            .collect())
    }
}

/// The features of every exchange, `[exchanges, num_features]`.
fn embed(
    embedder: &impl Embedder,
    config: &EmbeddingJudgeConfig,
    exchanges: &[Exchange<'_>],
) -> Result<Vec<f64>, ModelError> {
    if exchanges.is_empty() {
        return Ok(Vec::new());
    }
    let joined: Vec<String>;
    let texts: Vec<&str> = match config.text {
        EmbeddedText::Response => exchanges.iter().map(|e| e.response).collect(),
        EmbeddedText::Joined => {
            joined = exchanges
                .iter()
                .map(|e| format!("{}\n{}", e.prompt, e.response))
                .collect();
            joined.iter().map(String::as_str).collect()
        }
        EmbeddedText::Pair => exchanges
            .iter()
            .flat_map(|e| [e.prompt, e.response])
            .collect(),
    };
    let embeddings = embedder.embed(&texts)?;
    let dim = embedder.dim();
    if embeddings.len() != texts.len() * dim {
        return Err(ModelError::backend(
            "the embedder returned the wrong number of values",
            format!("{} for {} texts of {dim}", embeddings.len(), texts.len()),
        ));
    }
    if let Some(position) = embeddings.iter().position(|value| !value.is_finite()) {
        return Err(ModelError::NonFinite {
            index: position / dim.max(1),
            what: "embedding",
        });
    }
    Ok(embeddings.into_iter().map(f64::from).collect())
}

/// What is said of each example with calibration and threshold from the other folds. `None` where
/// these lack a class.
fn judge_held_out<'a>(
    scores: &[f64],
    labelled: &'a [LabelledExchange],
    folds: &[usize],
    config: &EmbeddingJudgeConfig,
) -> Option<Vec<HeldOut<'a>>> {
    let rows = || scores.iter().zip(labelled).zip(folds);
    let chosen: Vec<Calibrated> = (0..config.num_folds)
        .map(|fold| {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows()
                .filter(|(_, assigned)| **assigned != fold)
                .map(|((score, exchange), _)| (*score, exchange.label))
                .unzip();
            Calibrated::choose(&scores, &labels, config.threshold)
        })
        .collect::<Option<_>>()?;
    rows()
        .map(|((score, exchange), fold)| {
            let chosen = chosen.get(*fold)?;
            let probability = chosen.probability(*score);
            Some(HeldOut {
                probability,
                called: probability >= chosen.threshold,
                label: exchange.label,
                source: &exchange.source,
            })
        })
        .collect()
}

fn fit_without(
    features: &[f64],
    width: usize,
    labels: &[bool],
    folds: &[usize],
    fold: usize,
    config: &LogisticConfig,
) -> Result<LogisticRegression, LogisticError> {
    let mut kept_features = Vec::with_capacity(features.len());
    let mut kept_labels = Vec::with_capacity(labels.len());
    let rows = features.chunks_exact(width.max(1)).zip(labels).zip(folds);
    for ((row, label), _) in rows.filter(|(_, assigned)| **assigned != fold) {
        kept_features.extend_from_slice(row);
        kept_labels.push(*label);
    }
    LogisticRegression::fit(&kept_features, width, &kept_labels, config)
}
