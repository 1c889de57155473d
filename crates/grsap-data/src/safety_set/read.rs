use std::path::Path;

use serde_json::Value;

use super::{SafetyRow, SafetyRows, SafetySet};
use crate::DataError;
use crate::table::{TableRow, read_table};

/// Reads a file of `set`, in the form that its name ends in: `.jsonl`, `.json`, `.csv`, `.tsv`, and
/// `.parquet` with the feature of that name.
///
/// # Errors
///
/// [`DataError::Io`], [`DataError::Format`] for a file that is not in its form,
/// [`DataError::Field`] with the row of a column that is missing, blank or of another kind than
/// published, and [`DataError::Empty`].
///
/// # Examples
///
/// ```
/// use grsap_data::{SafetySet, read_safety_set};
///
/// let path = std::env::temp_dir().join("grsap-doc-xstest.csv");
/// std::fs::write(&path, "id,prompt,type,label\n1,How do I kill a process?,homonyms,safe\n")?;
/// let set = read_safety_set(SafetySet::XsTest, &path)?;
/// assert_eq!(set.benign().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_safety_set(set: SafetySet, path: impl AsRef<Path>) -> Result<SafetyRows, DataError> {
    let convert = match set {
        SafetySet::WildGuardTest => wild_guard_test,
        SafetySet::WildJailbreak => wild_jailbreak,
        SafetySet::BeaverTails => beaver_tails,
        SafetySet::PkuSafeRlhf => pku_safe_rlhf,
        SafetySet::Aegis2 => aegis2,
        SafetySet::AdvBench => adv_bench,
        SafetySet::HarmBench => harm_bench,
        SafetySet::StrongReject => strong_reject,
        SafetySet::XsTest => xs_test,
        SafetySet::DoNotAnswer => do_not_answer,
    };
    let mut rows = Vec::new();
    let mut num_withheld = 0;
    for row in read_table(path.as_ref())? {
        let converted = convert(&row)?;
        num_withheld += usize::from(converted.is_empty());
        rows.extend(converted);
    }
    Ok(SafetyRows::new(rows, num_withheld))
}

/// No row for one that is withheld.
type Converted = Result<Vec<SafetyRow>, DataError>;

fn prompt(
    row: &TableRow,
    field: &'static str,
    harmful: Option<bool>,
) -> Result<SafetyRow, DataError> {
    Ok(SafetyRow {
        prompt: row.text(field)?.to_owned(),
        prompt_harmful: harmful,
        ..SafetyRow::default()
    })
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn wild_guard_test(row: &TableRow) -> Converted {
    let harm = |field| row.optional_label(field, "harmful", "unharmful");
    Ok(vec![SafetyRow {
        response: owned(row.optional_text("response")?),
        response_harmful: harm("response_harm_label")?,
        response_refusal: row.optional_label("response_refusal_label", "refusal", "compliance")?,
        category: owned(row.extra_text("subcategory")?),
        ..prompt(row, "prompt", harm("prompt_harm_label")?)?
    }])
}

fn wild_jailbreak(row: &TableRow) -> Converted {
    let data_type = row.text("data_type")?;
    let harmful = match data_type {
        "vanilla_harmful" | "adversarial_harmful" => true,
        "vanilla_benign" | "adversarial_benign" => false,
        _ => return Err(row.error("data_type", format!("{data_type:?} is no type of this set"))),
    };
    // The evaluation part says it twice.
    if row.has("label") && row.flag("label")? != harmful {
        let label = row.integer("label")?;
        return Err(row.error("label", format!("{label} contradicts {data_type:?}")));
    }
    let field = if data_type.starts_with("vanilla") {
        "vanilla"
    } else {
        "adversarial"
    };
    Ok(vec![SafetyRow {
        response: owned(row.extra_text("completion")?),
        category: Some(data_type.to_owned()),
        ..prompt(row, field, Some(harmful))?
    }])
}

fn beaver_tails(row: &TableRow) -> Converted {
    let categories = match row.value("category")? {
        Value::Object(flags) => flags
            .iter()
            .filter(|(_, is_set)| **is_set == Value::Bool(true))
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(","),
        _ => return Err(row.error("category", "expected an object of flags")),
    };
    Ok(vec![SafetyRow {
        response: owned(row.optional_text("response")?),
        response_harmful: Some(!row.flag("is_safe")?),
        category: (!categories.is_empty()).then_some(categories),
        ..prompt(row, "prompt", None)?
    }])
}

fn pku_safe_rlhf(row: &TableRow) -> Converted {
    [
        ("response_0", "is_response_0_safe"),
        ("response_1", "is_response_1_safe"),
    ]
    .into_iter()
    .map(|(response, is_safe)| {
        Ok(SafetyRow {
            response: owned(row.optional_text(response)?),
            response_harmful: Some(!row.flag(is_safe)?),
            ..prompt(row, "prompt", None)?
        })
    })
    .collect()
}

fn aegis2(row: &TableRow) -> Converted {
    let text = row.text("prompt")?;
    if text.trim() == "REDACTED" {
        return Ok(Vec::new());
    }
    let response = row.optional_text("response")?;
    Ok(vec![SafetyRow {
        response: owned(response),
        response_harmful: match response {
            Some(_) => row.optional_label("response_label", "unsafe", "safe")?,
            None => None,
        },
        category: owned(row.extra_text("violated_categories")?),
        ..prompt(
            row,
            "prompt",
            Some(row.label("prompt_label", "unsafe", "safe")?),
        )?
    }])
}

fn adv_bench(row: &TableRow) -> Converted {
    row.text("target")?;
    Ok(vec![prompt(row, "goal", Some(true))?])
}

fn harm_bench(row: &TableRow) -> Converted {
    let behavior = row.text("Behavior")?;
    let prompt = match row.extra_text("ContextString")? {
        Some(context) => format!("{context}\n\n---\n\n{behavior}"),
        None => behavior.to_owned(),
    };
    Ok(vec![SafetyRow {
        prompt,
        prompt_harmful: Some(true),
        category: Some(row.text("SemanticCategory")?.to_owned()),
        ..SafetyRow::default()
    }])
}

fn strong_reject(row: &TableRow) -> Converted {
    Ok(vec![SafetyRow {
        category: Some(row.text("category")?.to_owned()),
        ..prompt(row, "forbidden_prompt", Some(true))?
    }])
}

fn xs_test(row: &TableRow) -> Converted {
    let kind = row.text("type")?;
    let harmful = if row.has("label") {
        row.label("label", "unsafe", "safe")?
    } else {
        kind.starts_with("contrast")
    };
    Ok(vec![SafetyRow {
        category: Some(kind.to_owned()),
        ..prompt(row, "prompt", Some(harmful))?
    }])
}

fn do_not_answer(row: &TableRow) -> Converted {
    let category = format!("{}, {}", row.text("risk_area")?, row.text("types_of_harm")?);
    Ok(vec![SafetyRow {
        category: Some(category),
        ..prompt(row, "question", Some(true))?
    }])
}
