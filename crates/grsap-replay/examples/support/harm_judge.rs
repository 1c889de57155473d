//! The judge of harm that the programs share.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use grsap_replay::prelude::*;

use crate::assets::Assets;
use crate::lab_data::LabData;

/// Fits the judge of harm on replies that people have labelled, and keeps it with its held-out
/// figures. Replies to prompts that the models are evaluated on are left out.
pub(crate) fn harm_judge<'a>(
    assets: &Assets,
    encoder: &'a SentenceEncoder,
    lab: &LabData,
    out: &Path,
    bars: &Bars,
) -> Result<EmbeddingJudge<&'a SentenceEncoder>> {
    let path = out.join("harm_judge.json");
    if path.is_file() {
        return Ok(EmbeddingJudge::load(encoder, &path)?);
    }
    let evaluated: BTreeSet<String> = lab
        .eval_prompts()
        .map(|row| normalised(&row.text))
        .collect();
    let labelled: Vec<LabelledExchange> = assets
        .objective_labels()?
        .into_iter()
        .chain(assets.harm_labels()?)
        .filter(|row| !evaluated.contains(&normalised(&row.prompt)))
        .map(|row| LabelledExchange {
            prompt: row.prompt,
            response: row.response,
            label: row.label >= 0.5,
            source: row.category,
        })
        .collect();
    let mut config = EmbeddingJudgeConfig {
        target: JudgeTarget::Harm,
        ..Default::default()
    };
    config.logistic.c = 1.0;
    bars.start("fit the judge of harm", 0);
    let judge = EmbeddingJudge::fit(encoder, &labelled, config)?;
    bars.finish();
    std::fs::create_dir_all(out)?;
    judge.save(&path)?;
    Ok(judge)
}

/// As the judge compares prompts: case and spacing do not matter.
fn normalised(prompt: &str) -> String {
    let words: Vec<String> = prompt.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}
