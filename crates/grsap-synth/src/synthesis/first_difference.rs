use serde_json::Value;

/// The path of the first setting that is not the same, with its two values.
pub(super) fn first_difference(
    path: &str,
    there: &Value,
    here: &Value,
) -> Option<(String, String, String)> {
    let within = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let (x, y) = (a.get(key), b.get(key));
                first_difference(&within(key), x.unwrap_or(&ABSENT), y.unwrap_or(&ABSENT))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(i, (x, y))| first_difference(&within(&i.to_string()), x, y)),
        (Value::Array(a), Value::Array(b)) => Some((
            path.to_owned(),
            format!("a list of {}", a.len()),
            format!("a list of {}", b.len()),
        )),
        (a, b) if a == b => None,
        (a, b) => Some((path.to_owned(), a.to_string(), b.to_string())),
    }
}

static ABSENT: Value = Value::Null;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named() {
        let a = json!({"seed": 1, "x": {"y": [1, {"z": 2}], "w": null}});
        assert_eq!(first_difference("", &a, &a), None);
        let cases = [
            (json!({"seed": 2, "x": a["x"]}), ("seed", "1", "2")),
            (
                json!({"seed": 1, "x": {"y": [1, {"z": 3}]}}),
                ("x.y.1.z", "2", "3"),
            ),
            (
                json!({"seed": 1, "x": {"y": [1]}}),
                ("x.y", "a list of 2", "a list of 1"),
            ),
            (
                json!({"seed": 1, "x": 5}),
                ("x", "{\"y\":[1,{\"z\":2}],\"w\":null}", "5"),
            ),
            (
                json!({"seed": 1, "x": a["x"], "new": 4}),
                ("new", "null", "4"),
            ),
        ];
        for (b, (field, there, here)) in cases {
            let expected = (field.to_owned(), there.to_owned(), here.to_owned());
            assert_eq!(first_difference("", &a, &b), Some(expected));
        }
    }
}
