use grsap_model::{Decoder, WeightFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::error::TrainError;
use super::lr_schedule::LrSchedule;
use super::trainable::Trainable;
use super::trainer_config::TrainerConfig;
use crate::adapter::{AdapterError, hex, read};
use crate::example::SftExample;

/// All that decides what a run computes. A checkpoint is continued only by a run of the same
/// identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RunIdentity(Value);

/// Fields that say when to write checkpoints, and do not change the numbers.
const BOOKKEEPING: [&str; 2] = ["save_steps", "save_total_limit"];

/// Of a longer run not every rate is asked for: it may have no end but that of a callback's patience.
const MOST_RATES: usize = 1 << 20;

impl RunIdentity {
    pub(super) fn new(
        config: &TrainerConfig,
        trainable: &dyn Trainable,
        decoder: &Decoder,
        examples: &[SftExample],
        schedule: &dyn LrSchedule,
    ) -> Result<Self, TrainError> {
        let mut config_json = json(config);
        if let Value::Object(fields) = &mut config_json {
            fields.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
        }
        let mut rates = Sha256::new();
        let num_steps = config.num_steps(examples.len());
        for step in (0..num_steps).step_by(num_steps.div_ceil(MOST_RATES).max(1)) {
            rates.update(schedule.lr(step).to_le_bytes());
        }
        let fields = [
            ("config", config_json),
            (trainable.kind(), trainable.settings()),
            ("num_examples", json(&examples.len())),
            ("data_sha256", json(&SftExample::digest(examples))),
            ("schedule_sha256", json(&hex(&rates.finalize()))),
            (
                "initial_parameters_sha256",
                json(&parameters_digest(decoder, trainable)?),
            ),
            ("base_model_sha256", json(&base_digest(decoder)?)),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Ok(Self(Value::Object(Map::from_iter(fields))))
    }

    /// The first field that differs, with the value of each.
    pub(super) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        difference("", &self.0, &other.0)
    }
}

/// The JSON form of a value as a file gives it back: the same text, read by the same parser.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_string(value)
        .and_then(|text| serde_json::from_str(&text))
        .unwrap_or(Value::Null)
}

/// SHA-256 over the names, shapes and values of what is trained.
fn parameters_digest(decoder: &Decoder, trainable: &dyn Trainable) -> Result<String, AdapterError> {
    let mut hash = Sha256::new();
    for (name, parameter) in trainable.parameters(decoder) {
        let matrix = parameter.to_matrix();
        hash.update(name.as_bytes());
        for dim in matrix.dims() {
            hash.update((dim as u64).to_le_bytes());
        }
        hash.update(bytemuck::cast_slice(&read(&name, matrix)?));
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 over the first row of every projection and of the head: enough to tell models and
/// merged adapters apart without reading every weight back.
fn base_digest(decoder: &Decoder) -> Result<String, AdapterError> {
    let mut hash = Sha256::new();
    let projections = decoder.projections();
    let weights = projections.map(|(name, projection)| (name, projection.weight()));
    let head = ("lm_head".to_owned(), decoder.head_weight());
    for (name, weight) in weights.chain([head]) {
        let row = read(&name, weight.rows(&[0])?)?;
        hash.update(bytemuck::cast_slice(&row));
        // The same values give other sums in another format.
        if weight.format() != WeightFormat::F32 {
            hash.update(format!("{:?}", weight.format()));
        }
    }
    Ok(hex(&hash.finalize()))
}

fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    if a == b {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (a, b) {
        let names = a
            .keys()
            .chain(b.keys().filter(|name| !a.contains_key(*name)));
        for name in names {
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let value = |fields: &Map<String, Value>| fields.get(name).cloned();
            let (a, b) = (value(a).unwrap_or_default(), value(b).unwrap_or_default());
            if let Some(found) = difference(&path, &a, &b) {
                return Some(found);
            }
        }
    }
    Some((path.to_owned(), a.to_string(), b.to_string()))
}
