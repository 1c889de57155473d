//! Name and number pairs as a JSON object that keeps their order.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

pub(crate) fn serialize<S: Serializer>(
    pairs: &[(String, f64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let map: Map<String, Value> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(*value)))
        .collect();
    map.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, f64)>, D::Error> {
    Map::<String, Value>::deserialize(deserializer)?
        .into_iter()
        .map(|(name, value)| match value.as_f64() {
            Some(number) => Ok((name, number)),
            None => Err(D::Error::custom(format!(
                "{name} is {value}, expected a number"
            ))),
        })
        .collect()
}
