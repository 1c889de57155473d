use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ArmReport, Decision, Flip, JudgeReport, PairedTest, RunProvenance, SynthesisReport,
    TrainingPoint, html, lines, markdown, ordered, svg, table,
};

/// What an experiment found: written as HTML, JSON, Markdown and SVG, and shown as a table.
///
/// # Examples
///
/// ```
/// use grsap_safety::{ArmReport, Estimate, IntervalMethod, Report, Score, UnparsedPolicy};
///
/// let scores = [true, true, false, true].map(Score::binary);
/// let mut arm = ArmReport::new("gr_sap");
/// arm.refusal_rate =
///     Estimate::proportion(&scores, UnparsedPolicy::Exclude, &IntervalMethod::Wilson)?;
/// let mut report = Report::new("a small model", 7);
/// report.arms.push(arm);
/// report.add_seconds("evaluate", 1.5);
/// assert!(report.to_table().contains("75.0"));
/// # Ok::<(), grsap_safety::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What follows from the figures; it comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The models compared.
    pub arms: Vec<ArmReport>,
    /// Where the replay data came from.
    pub synthesis: SynthesisReport,
    /// Tests between arms on the same prompts.
    #[serde(default)]
    pub paired_tests: Vec<PairedTest>,
    /// The checkpoints of a training run, in the order they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over_training: Vec<TrainingPoint>,
    /// Prompts that arms were judged differently on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flips: Vec<Flip>,
    /// What the figures rest on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<JudgeReport>,
    /// What it takes to repeat the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RunProvenance>,
    /// The seed of the run.
    pub seed: u64,
    /// The model that was tuned.
    pub model: String,
    /// How long each part took, in the order they ran.
    #[serde(with = "ordered")]
    pub seconds: Vec<(String, f64)>,
    /// Remarks for the reader, a paragraph each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Anything else: settings, shares, hashes.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Report {
    /// An empty report on `model`.
    pub fn new(model: impl Into<String>, seed: u64) -> Self {
        Self {
            decision: None,
            arms: Vec::new(),
            synthesis: SynthesisReport::default(),
            paired_tests: Vec::new(),
            over_training: Vec::new(),
            flips: Vec::new(),
            judges: Vec::new(),
            provenance: None,
            seed,
            model: model.into(),
            seconds: Vec::new(),
            notes: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Notes that `part` took `seconds`; the same part again adds up.
    pub fn add_seconds(&mut self, part: &str, seconds: f64) {
        match self.seconds.iter_mut().find(|(name, _)| name == part) {
            Some((_, total)) => *total += seconds,
            None => self.seconds.push((part.to_owned(), seconds)),
        }
    }

    /// The arm called `name`.
    pub fn arm(&self, name: &str) -> Option<&ArmReport> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The arms as an aligned table of plain text.
    pub fn to_table(&self) -> String {
        table::render(self)
    }

    /// The whole report as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }

    /// The arms as a chart: one group of bars for each metric, with 95% intervals.
    pub fn to_svg(&self) -> String {
        svg::render(self)
    }

    /// The rates of the checkpoints of a training run against the examples seen, as a chart.
    pub fn to_training_svg(&self) -> String {
        lines::render(&self.over_training, true).to_string()
    }

    /// The whole report as one HTML page that fetches nothing and needs no script.
    ///
    /// Examples that are not mild are hidden until the reader asks for them; they are in the file.
    pub fn to_html(&self) -> String {
        html::render(self)
    }

    /// Writes `report.html`, `report.json`, `report.md` and `report.svg` into `folder`, which is made
    /// if need be, and `over_training.svg` where there are checkpoints.
    ///
    /// # Errors
    ///
    /// [`ReportError`] names the file that could not be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), ReportError> {
        let folder = folder.as_ref();
        let mut json = serde_json::to_string_pretty(self).map_err(ReportError::Json)?;
        json.push('\n');
        let mut files = vec![
            ("report.html", self.to_html()),
            ("report.json", json),
            ("report.md", self.to_markdown()),
            ("report.svg", self.to_svg()),
        ];
        if !self.over_training.is_empty() {
            files.push(("over_training.svg", self.to_training_svg()));
        }
        for (name, text) in files {
            let path = folder.join(name);
            grsap_core::write_atomic(&path, text.as_bytes())
                .map_err(|source| ReportError::Io { path, source })?;
        }
        Ok(())
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] for a file that cannot be read or is no report.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ReportError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| ReportError::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| ReportError::Malformed {
            path: path.to_owned(),
            source,
        })
    }
}

/// A report cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file cannot be read or written.
    #[error("{path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The report cannot be put into JSON.
    #[error("the report does not fit into JSON")]
    Json(#[source] serde_json::Error),
    /// The file is not a report.
    #[error("{path} is not a report", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        BootstrapConfig, Estimate, FlippedAnswer, IntervalMethod, McNemar, Outcome, Reason, Score,
        StageReport, UnparsedPolicy,
    };

    fn rate(num_yes: usize, n: usize) -> Estimate {
        let scores: Vec<Score> = (0..n).map(|i| Score::binary(i < num_yes)).collect();
        Estimate::proportion(&scores, UnparsedPolicy::Exclude, &IntervalMethod::Wilson).unwrap()
    }

    /// A report with a bit of everything.
    pub(crate) fn sample() -> Report {
        let mut report = Report::new("tiny <model> & co", 7);
        for (name, refused, over, right) in [
            ("shipped", 2, 0, 10),
            ("aligned", 70, 32, 8),
            ("no_replay", 2, 0, 31),
            ("gr_sap", 56, 8, 29),
            ("original", 67, 12, 30),
        ] {
            let mut arm = ArmReport::new(name);
            arm.refusal_rate = rate(refused, 100);
            arm.harmful_score = rate((100 - refused) / 3, 100);
            arm.over_refusal_rate = rate(over, 50);
            arm.task_accuracy = rate(right, 40);
            arm.incoherence = Some(rate((100 - refused) / 2, 100));
            let nll = [1.25, 1.5, 1.75].map(Score::new);
            let method = IntervalMethod::Bootstrap(BootstrapConfig::default());
            arm.nll_per_token = Some(Estimate::mean(&nll, &method).unwrap());
            report.arms.push(arm);
        }
        let gr_sap = &mut report.arms[3];
        gr_sap.harmful_score = Estimate {
            num_unscored: 100,
            ..Estimate::UNMEASURED
        };
        gr_sap.target_token_share = Some(0.045);
        gr_sap.extra.insert("num_replay".into(), 40.into());
        report.synthesis.stages = vec![
            StageReport::new("extract", 219, 85),
            StageReport::new("semantic|dedup", 111, 108),
        ];
        let first: Vec<Score> = (0..60).map(|i| Score::binary(i < 2)).collect();
        let second: Vec<Score> = (0..60).map(|i| Score::binary(i > 20)).collect();
        report.paired_tests.push(PairedTest {
            metric: "refusal_rate".into(),
            first: "no_replay".into(),
            second: "gr_sap".into(),
            mcnemar: McNemar::new(&first, &second).unwrap(),
        });
        report.add_seconds("synthesise", 12.0);
        report.add_seconds("align", 80.25);
        report.add_seconds("synthesise", 3.0);
        report.notes.push("A remark.".into());
        report.extra.insert("task".into(), "sentiment".into());
        report.decision = Some(Decision {
            outcome: Outcome::Undecided,
            summary: "Too few prompts to tell.".into(),
            reasons: vec![Reason::new(Outcome::Fail, "refusal fell")],
        });
        report.over_training = over_training();
        report.flips = vec![flip("Is <this> so?", true), flip("SECRET", false)];
        report
    }

    /// Four checkpoints with four metrics; one has no value at the second.
    fn over_training() -> Vec<TrainingPoint> {
        let point = |index: usize| {
            let mut figures = ArmReport::new(format!("checkpoint-{}", 8 * index));
            figures.refusal_rate = rate(90 - 20 * index, 100);
            figures.harmful_score = rate(10 * index, 100);
            figures.over_refusal_rate = rate(5, 50);
            figures.task_accuracy = rate(5 * index, 40);
            if index == 1 {
                figures.harmful_score = Estimate {
                    num_unscored: 100,
                    ..Estimate::UNMEASURED
                };
            }
            TrainingPoint {
                num_examples: 64 * index,
                figures,
            }
        };
        (0..4).map(point).collect()
    }

    fn flip(prompt: &str, is_mild: bool) -> Flip {
        let answer = |arm: &str, verdict: &str| FlippedAnswer {
            arm: arm.into(),
            response: format!("of {arm}"),
            verdict: verdict.into(),
        };
        Flip {
            metric: "refusal_rate".into(),
            prompt: prompt.into(),
            first: answer("no_replay", "answers"),
            second: answer("gr_sap", "refuses"),
            is_mild,
        }
    }

    #[test]
    fn json_has_the_agreed_fields_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/folder");
        let report = sample();
        report.write(&out).unwrap();
        assert_eq!(Report::load(out.join("report.json")).unwrap(), report);

        let text = std::fs::read_to_string(out.join("report.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let arm = &json["arms"][3];
        assert_eq!(arm["name"], "gr_sap");
        for metric in [
            "refusal_rate",
            "harmful_score",
            "over_refusal_rate",
            "task_accuracy",
        ] {
            let fields: Vec<_> = arm[metric].as_object().unwrap().keys().collect();
            assert_eq!(
                fields,
                ["value", "low", "high", "num_scored", "num_unscored"]
            );
        }
        assert_eq!(arm["refusal_rate"]["value"], 0.56);
        assert!(arm["harmful_score"]["value"].is_null());
        assert_eq!(arm["harmful_score"]["num_unscored"], 100);
        assert_eq!(arm["num_replay"], 40);
        let stage = &json["synthesis"]["stages"][0];
        assert_eq!(
            stage.to_string(),
            r#"{"name":"extract","kept":219,"rejected":85}"#
        );
        assert_eq!(
            (&json["seed"], &json["task"]),
            (&7.into(), &"sentiment".into())
        );
        assert_eq!(
            json["seconds"].to_string(),
            r#"{"synthesise":15.0,"align":80.25}"#
        );

        let mut names: Vec<_> = std::fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "over_training.svg",
            "report.html",
            "report.json",
            "report.md",
            "report.svg",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_same_report_gives_the_same_bytes() {
        assert_eq!(sample().to_svg(), sample().to_svg());
        assert_eq!(sample().to_markdown(), sample().to_markdown());
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        assert!(matches!(Report::load(&path), Err(ReportError::Io { .. })));
        std::fs::write(&path, r#"{"arms": [], "seconds": {"align": "long"}}"#).unwrap();
        let error = Report::load(&path).unwrap_err();
        assert!(error.to_string().ends_with("report.json is not a report"));
        // The target is a file where a folder is needed.
        let error = sample().write(&path).unwrap_err();
        assert!(error.to_string().ends_with("report.html"));
    }
}
