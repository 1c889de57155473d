use std::path::Path;

use grsap_core::{Embedder, Generator, Guard, Perplexity, Progress, digest_hex};
use serde_json::{Value, json};

use super::SynthesisConfig;
use super::first_difference::first_difference;
use super::journal::Journal;
use crate::batch::CHUNK_SIZE;
use crate::{
    BufferInfo, Extraction, Manifest, Provenance, QueryExtractor, ReplayBuffer, SynthError,
};

/// The models that a [`Synthesis`] works with.
#[derive(Clone, Copy)]
pub struct SynthesisModels<'a> {
    /// The aligned model whose alignment is to be kept.
    pub generator: &'a dyn Generator,
    /// A small language model that tells text from noise.
    pub perplexity: &'a dyn Perplexity,
    /// A sentence encoder.
    pub embedder: &'a dyn Embedder,
    /// A judge of responses.
    pub guard: &'a dyn Guard,
}

/// The whole of generative replay: extraction, filters, responses, judging, revision.
///
/// Each stage can be used alone; this is the order that the paper has them in, except that queries
/// are filtered before they are answered, which saves the answers to those that are dropped.
/// Queries are measured as they are written. The filters need all of them: a band of perplexity is
/// a share of the whole. From there on each query is answered, judged and revised as soon as it can
/// be, a chunk at a time.
///
/// # Source
///
/// GR-SAP, arXiv 2603.10243, stages 1 to 3.
pub struct Synthesis {
    pub(super) config: SynthesisConfig,
    pub(super) extraction: Extraction,
    pub(super) evaluation_prompts: Vec<String>,
    provenance: Provenance,
    pub(super) chunk_size: usize,
}

impl Synthesis {
    /// Checks the settings of every stage.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the stage and the setting that cannot be used.
    pub fn new(config: SynthesisConfig) -> Result<Self, SynthError> {
        config.check()?;
        Ok(Self {
            extraction: Extraction::new(config.extraction.clone())?,
            config,
            evaluation_prompts: Vec::new(),
            provenance: Provenance::default(),
            chunk_size: CHUNK_SIZE,
        })
    }

    /// Asks for queries in a way of your own.
    #[must_use]
    pub fn with_extractor(mut self, extractor: Box<dyn QueryExtractor>) -> Self {
        self.extraction = self.extraction.with_extractor(extractor);
        self
    }

    /// Drops queries that are in an evaluation set.
    #[must_use]
    pub fn with_evaluation_prompts(
        mut self,
        prompts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.evaluation_prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Notes the model in the manifest.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Provenance) -> Self {
        self.provenance = provenance;
        self
    }

    /// Gives the models about this many texts in a call. It changes speed and memory, not the
    /// result.
    #[must_use]
    pub fn with_chunk_size(mut self, chunk_size: usize) -> Self {
        self.chunk_size = chunk_size;
        self.extraction = self.extraction.with_chunk_size(chunk_size);
        self
    }

    /// Runs all stages in memory.
    ///
    /// # Errors
    ///
    /// [`SynthError`] names the stage that failed.
    pub fn run(
        &self,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<ReplayBuffer, SynthError> {
        self.run_stages(&Journal::in_memory(), models, progress)
    }

    /// Runs all stages and saves the buffer in `folder`, with a table and a picture of what became
    /// of the candidates of each domain.
    ///
    /// Whatever a model returns is on the disk, in `journal.jsonl`, before it counts. A run that was
    /// killed at any moment and is started again asks the models only for the rest, and the buffer
    /// is the same to the byte. The journal may be removed when the run is over.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), [`SynthError::ConfigMismatch`] when the folder was begun with other
    /// settings, [`SynthError::Journal`] when the journal was changed, and [`SynthError::InUse`]
    /// while another run works in the folder.
    pub fn run_in(
        &self,
        folder: impl AsRef<Path>,
        models: SynthesisModels<'_>,
        progress: &dyn Progress,
    ) -> Result<ReplayBuffer, SynthError> {
        let folder = folder.as_ref();
        // The journal of a finished run may be gone; its buffer is not to be replaced by another's.
        if let Some(manifest) = ReplayBuffer::manifest_in(folder)? {
            self.compare(folder, &manifest)?;
        }
        let journal = Journal::open(&folder.join("journal.jsonl"), &self.identity()?)?;
        let buffer = self.run_stages(&journal, models, progress)?;
        buffer.save(folder)?;
        Ok(buffer)
    }

    /// Reads the buffer in `folder` and checks that it was made with these settings, models and
    /// prompts and that everything in it is as its manifest says.
    ///
    /// # Errors
    ///
    /// [`SynthError::ConfigMismatch`] names the first setting that differs, with its two values;
    /// otherwise as [`ReplayBuffer::verify`].
    pub fn verify(&self, folder: impl AsRef<Path>) -> Result<ReplayBuffer, SynthError> {
        let folder = folder.as_ref();
        let buffer = ReplayBuffer::verify(folder)?;
        self.compare(folder, buffer.manifest())?;
        Ok(buffer)
    }

    /// Whether a buffer is of these settings, models and prompts.
    fn compare(&self, folder: &Path, manifest: &Manifest) -> Result<(), SynthError> {
        let there = identity(&manifest.crate_version, &manifest.info());
        match first_difference("", &there, &self.identity()?) {
            None => Ok(()),
            Some((field, there, here)) => Err(SynthError::ConfigMismatch {
                folder: folder.into(),
                field,
                there,
                here,
            }),
        }
    }

    /// All that decides the result, for a folder to remember.
    fn identity(&self) -> Result<Value, SynthError> {
        Ok(identity(env!("CARGO_PKG_VERSION"), &self.info()?))
    }

    /// What is known before the run.
    pub(super) fn info(&self) -> Result<BufferInfo, SynthError> {
        let evaluation_prompts = serde_json::to_vec(&self.evaluation_prompts)
            .map_err(serialize("the evaluation prompts"))?;
        Ok(BufferInfo {
            provenance: self.provenance.clone(),
            seed: self.config.seed,
            config: serde_json::to_value(&self.config).map_err(serialize("the settings"))?,
            extraction_prompts: self.extraction.prompts(&self.config.domains),
            evaluation_prompts_sha256: self
                .decontaminates()
                .map(|_| digest_hex(&evaluation_prompts)),
            stages: Vec::new(),
        })
    }
}

fn identity(crate_version: &str, info: &BufferInfo) -> Value {
    json!({
        "crate_version": crate_version,
        "provenance": info.provenance,
        "config": info.config,
        "extraction_prompts": info.extraction_prompts,
        "evaluation_prompts_sha256": info.evaluation_prompts_sha256,
    })
}

fn serialize(what: &'static str) -> impl Fn(serde_json::Error) -> SynthError {
    move |source| SynthError::Buffer(crate::BufferError::Serialize { what, source })
}
